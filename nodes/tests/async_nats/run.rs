//! Runs each test in a process of its own, several at a time, none for ever.

use crate::package::{self, Executable};
use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// At a time: they wait far more than they work.
const AT_ONCE: usize = 6;
/// The slowest test, `watch_hearbeats_first`, takes 110 s: it sleeps.
const WITHIN: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(20);

/// One test.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) file: String,
    pub(crate) name: String,
    executable: PathBuf,
}

/// How a test went.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) case: Case,
    /// What it said, if it failed.
    pub(crate) failure: Option<String>,
}

/// The tests of an executable.
pub(crate) fn cases(executable: &Executable) -> Vec<Case> {
    let listed = Command::new(&executable.path).args(["--list", "--format", "terse"]).output();
    let text = String::from_utf8(listed.expect("a test executable starts").stdout).expect("names are text");
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let case = |name: &str| Case {
        file: executable.file.clone(),
        name: name.to_owned(),
        executable: executable.path.clone(),
    };
    names.map(case).collect()
}

/// Runs them all. `server` is what they start.
pub(crate) fn run(cases: Vec<Case>, server: &str, told: impl Fn(&Verdict) + Sync) -> Vec<Verdict> {
    let (queue, verdicts) = (Mutex::new(VecDeque::from(cases)), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let verdict = Verdict { failure: one(&case, server), case };
                    told(&verdict);
                    verdicts.lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
                }
            });
        }
    });
    verdicts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(case: &Case, server: &str) -> Option<String> {
    let mut child = Command::new(&case.executable)
        .args(["--exact", &case.name, "--nocapture"])
        .current_dir(package::dir())
        .env("NATS_SERVER", server)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a test executable starts");
    let mut said = child.stderr.take().expect("its output is ours");
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        said.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            break Some(status);
        }
        if started.elapsed() > WITHIN {
            child.kill().ok();
            child.wait().ok();
            break None;
        }
        thread::sleep(PAUSE);
    };
    match status {
        Some(status) if status.success() => None,
        Some(_) => Some(panicked(&reader.join().unwrap_or_default())),
        // Its servers may hold the pipe open: what it said is not waited for.
        None => Some(format!("not over after {WITHIN:?}")),
    }
}

/// From the first panic on, without the way there.
fn panicked(said: &str) -> String {
    let lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    let lines = lines.take_while(|line| !line.contains("stack backtrace") && !line.starts_with("note:"));
    lines.take(6).collect::<Vec<_>>().join("\n        ")
}
