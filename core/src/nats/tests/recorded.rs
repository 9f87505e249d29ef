//! The scripts in `recorded.txt` and `recorded_auth.txt`: our server against what the real one said.

use super::talk::{Talk, config};
use super::who::everybody;
use crate::nats::Auth;

fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut chars) = (Vec::new(), text.chars());
    while let Some(char) = chars.next() {
        match (char, if char == '\\' { chars.next() } else { None }) {
            ('\\', Some('r')) => out.push(b'\r'),
            ('\\', Some('n')) => out.push(b'\n'),
            ('\\', Some('t')) => out.push(b'\t'),
            ('\\', Some('\\')) => out.push(b'\\'),
            ('\\', Some('x')) => {
                let digits: String = chars.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            ('\\', other) => panic!("no escape: {other:?} in {text}"),
            (char, _) => out.extend(char.to_string().bytes()),
        }
    }
    out
}

/// Title, what is sent, what comes back, whether it closes.
fn scripts(text: &'static str) -> Vec<(&'static str, Vec<u8>, Vec<u8>, bool)> {
    let scripts = text.split("\n== ").skip(1).map(|script| {
        let mut lines = script.lines();
        let title = lines.next().expect("a title");
        let sent = lines.next().and_then(|line| line.strip_prefix('>')).expect("what is sent");
        let answer = lines.next().and_then(|line| line.strip_prefix('<')).expect("what comes back");
        (title, unescape(sent.trim_start()), unescape(answer.trim_start()), lines.next() == Some("closed"))
    });
    scripts.collect()
}

fn our_server_agrees(text: &'static str, scripts_min: usize, auth: &Auth) {
    let scripts = scripts(text);
    assert!(scripts.len() > scripts_min, "{} scripts", scripts.len());
    for (title, sent, answer, closed) in scripts {
        for size in [sent.len().max(1), 7, 1] {
            let mut talk = Talk::new(config(auth.clone()));
            talk.connect(1);
            sent.chunks(size).for_each(|chunk| talk.send(1, chunk));
            let (heard, expected) = (talk.heard(1), String::from_utf8_lossy(&answer).into_owned());
            assert_eq!(heard, expected, "{title}, in pieces of {size}");
            assert_eq!(talk.is_closed(1), closed, "{title}");
        }
    }
}

#[test]
fn our_server_answers_as_the_real_one_did() {
    our_server_agrees(include_str!("recorded.txt"), 80, &Auth::Open);
}

#[test]
fn our_server_lets_its_users_do_what_the_real_one_did() {
    our_server_agrees(include_str!("recorded_auth.txt"), 50, &everybody());
}
