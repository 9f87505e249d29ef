//! A child process: started with its output in files, watched, killed.

use super::patience::eventually;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Last lines of each output that are shown when a test fails; of the lines before, only warnings and errors are.
const SHOWN_LINES: usize = 25;

/// A running child. It dies with this value; when a test fails, its last words are shown.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a program. Standard output and standard error go to files in `dir`.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[&str], dir: &Path) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(1);
        let name = format!("{name}-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let (out, log) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.log")));
        let file = |path: &Path| File::create(path).expect("a file for a child's output");
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&log))
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        Self { name, child, out, log }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard output so far.
    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has said on standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, within, async || self.ended().ok_or_else(|| "it is still running".to_owned())).await
    }

    /// SIGKILL: gone at once, whatever it was doing.
    pub(crate) fn kill(&mut self) {
        // The only error is that it has ended already.
        drop(self.child.kill());
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.pid())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{} takes no {signal}", self.name);
    }

    #[expect(clippy::print_stderr, reason = "the test harness shows it with the failure")]
    fn show(&self) {
        for (what, text) in [("standard output", self.out()), ("standard error", self.log())] {
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.len().saturating_sub(SHOWN_LINES);
            let is_bad =
                |line: &str| ["WARN", "ERROR", "panicked", "[ERR]"].iter().any(|word| line.contains(word));
            eprintln!("--- {}: {what}, {} lines", self.name, lines.len());
            let shown = lines.iter().enumerate().filter(|(at, line)| *at >= last || is_bad(line));
            shown.for_each(|(_, line)| eprintln!("{line}"));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            self.show();
        }
    }
}
