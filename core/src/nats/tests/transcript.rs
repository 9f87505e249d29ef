//! Reads `recorded.txt` and `recorded_auth.txt`: scripts, and what the real server said to each.

/// A script and its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transcript {
    pub(crate) title: &'static str,
    /// What a client sends behind the first INFO.
    pub(crate) sent: Vec<u8>,
    /// What comes back.
    pub(crate) answer: Vec<u8>,
    /// Whether the server ends the connection.
    pub(crate) closes: bool,
}

/// Every script of a file.
pub(crate) fn transcripts(text: &'static str) -> Vec<Transcript> {
    let scripts = text.split("\n== ").skip(1).map(|script| {
        let mut lines = script.lines();
        let title = lines.next().expect("a title");
        let sent = lines.next().and_then(|line| line.strip_prefix('>')).expect("what is sent");
        let answer = lines.next().and_then(|line| line.strip_prefix('<')).expect("what comes back");
        let (sent, answer) = (unescape(sent.trim_start()), unescape(answer.trim_start()));
        Transcript { title, sent, answer, closes: lines.next() == Some("closed") }
    });
    scripts.collect()
}

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
