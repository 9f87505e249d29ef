//! What the real server answers to the core protocol, byte for byte: recorded once, asked again here of a live one and of ours.
//!
//! ```text
//!  recorded.txt ─► each script ─┬─► nats-server ─► as recorded?
//!                               └─► ours ────────► as recorded?
//! ```
//!
//! The machine alone answers the same scripts in `core::nats::tests`: a difference only here is one of the shell, or the
//! real server says something else by now. Behind a script that the server does not end, a `PING` shows that it listens.

#[path = "../../../core/src/nats/tests/transcript.rs"]
mod transcript;

use crate::nats_server::{NatsServer, original};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use transcript::{Transcript, transcripts};

const OPEN: &str = include_str!("../../../core/src/nats/tests/recorded.txt");
/// Before its first script, the configuration.
const USERS: &str = include_str!("../../../core/src/nats/tests/recorded_auth.txt");
/// An answer that is not complete after this long never will be.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plays everything on both servers; what was said otherwise than recorded, and how many scripts there were.
pub(crate) async fn differences() -> (Vec<String>, usize) {
    let ours = Path::new(env!("CARGO_BIN_EXE_cloudlysis-nats-server"));
    let (users, _) = USERS.split_once("\n== ").expect("a configuration, then scripts");
    let (_, users) = users.split_once('\n').expect("a title, then a configuration");
    let (open_real, users_real, open_ours, users_ours) = tokio::join!(
        differences_of(original(), "", OPEN),
        differences_of(original(), users, USERS),
        differences_of(ours, "", OPEN),
        differences_of(ours, users, USERS),
    );
    let all = [open_real, users_real, open_ours, users_ours].into_iter().flatten().collect();
    (all, transcripts(OPEN).len() + transcripts(USERS).len())
}

async fn differences_of(program: &Path, configuration: &str, text: &'static str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    if !configuration.is_empty() {
        std::fs::write(dir.path().join("nats-server.conf"), configuration).expect("a file");
    }
    let server = NatsServer::start(program, dir.path()).await;
    let address = server.url();
    let address = address.trim_start_matches("nats://");
    let mut differences = Vec::new();
    // One after the other: a script may listen to everything.
    for transcript in transcripts(text) {
        let (answer, closed) = play(address, &transcript).await;
        if (&answer, closed) != (&transcript.answer, transcript.closes) {
            let [said, recorded] = [&answer, &transcript.answer].map(|bytes| bytes.escape_ascii());
            let Transcript { title, closes, .. } = transcript;
            let program = program.display();
            differences.push(format!(
                "{program}, {title}:\n  said     {said} (closed: {closed})\n  recorded {recorded} (closed: {closes})"
            ));
        }
    }
    differences
}

/// What a server says behind its first INFO, and whether it ended the connection.
async fn play(address: &str, transcript: &Transcript) -> (Vec<u8>, bool) {
    const ALIVE: &[u8] = b"PONG\r\n";
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let until = Instant::now() + PATIENCE;
    while byte(&mut stream, until).await != Some(b'\n') {}
    let mut sent = transcript.sent.clone();
    let mut expected = transcript.answer.len();
    if !transcript.closes {
        sent.extend_from_slice(b"PING\r\n");
        expected += ALIVE.len();
    }
    // It may have closed before it read everything.
    stream.write_all(&sent).await.ok();
    let mut answer = Vec::new();
    while transcript.closes || answer.len() < expected {
        match timeout_at(until, stream.read_buf(&mut answer)).await {
            Ok(Ok(count)) if count > 0 => {}
            Ok(Ok(_) | Err(_)) => return (answer, true),
            Err(_) => return (answer, false),
        }
    }
    if answer.ends_with(ALIVE) {
        answer.truncate(answer.len() - ALIVE.len());
    }
    (answer, false)
}

async fn byte(stream: &mut TcpStream, until: Instant) -> Option<u8> {
    timeout_at(until, stream.read_u8()).await.expect("an INFO").ok()
}
