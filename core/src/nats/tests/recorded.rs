//! The scripts in `recorded.txt` and `recorded_auth.txt`: our server against what the real one said.
//!
//! Whether the real one still says so is asked where there are processes: `nodes/tests/conformance/recorded.rs`.

use super::talk::{Talk, config};
use super::transcript::{Transcript, transcripts};
use super::who::everybody;
use crate::nats::Auth;

fn our_server_agrees(text: &'static str, scripts_min: usize, auth: &Auth) {
    let scripts = transcripts(text);
    assert!(scripts.len() > scripts_min, "{} scripts", scripts.len());
    for Transcript { title, sent, answer, closes } in scripts {
        for size in [sent.len().max(1), 7, 1] {
            let mut talk = Talk::new(config(auth.clone()));
            talk.connect(1);
            sent.chunks(size).for_each(|chunk| talk.send(1, chunk));
            let (heard, expected) = (talk.heard(1), String::from_utf8_lossy(&answer).into_owned());
            assert_eq!(heard, expected, "{title}, in pieces of {size}");
            assert_eq!(talk.is_closed(1), closes, "{title}");
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
