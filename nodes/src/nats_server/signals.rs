//! Signals: those this process is sent, and those `--signal` sends.
//!
//! | word | signal | what it does |
//! |---|---|---|
//! | `stop` | KILL | ends it at once |
//! | `quit` | INT | ends it in good order |
//! | `term` | TERM | ends it in good order |
//! | `reopen` | USR1 | opens the log file again |
//! | `reload` | HUP | reads the configuration again |
//! | `ldm` | USR2 | sends clients away by and by, then ends |

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{self, SignalKind};

/// What this process is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// To end in good order.
    Stop,
    /// To read its configuration again.
    Reload,
    /// To open its log file again.
    Reopen,
    /// To send its clients away by and by, then end.
    Leave,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
}

impl Signals {
    /// From now on they are heard here.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user_1: unix::signal(SignalKind::user_defined1())?,
            user_2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        let (name, asked) = tokio::select! {
            _ = self.interrupt.recv() => ("interrupt", Asked::Stop),
            _ = self.terminate.recv() => ("terminated", Asked::Stop),
            _ = self.hangup.recv() => ("hangup", Asked::Reload),
            _ = self.user_1.recv() => ("user defined signal 1", Asked::Reopen),
            _ = self.user_2.recv() => ("user defined signal 2", Asked::Leave),
        };
        tracing::info!("Trapped \"{name}\" signal");
        asked
    }
}

/// Sends what `--signal` says: a word and, behind `=`, a process or the file that names it.
///
/// # Errors
/// Text for the one who said it.
pub fn send(command: &str) -> Result<(), String> {
    let (word, whom) = command.split_once('=').unwrap_or((command, ""));
    let signal = match word {
        "stop" => Signal::KILL,
        "quit" => Signal::INT,
        "term" => Signal::TERM,
        "reopen" => Signal::USR1,
        "reload" => Signal::HUP,
        "ldm" => Signal::USR2,
        _ => return Err(format!("unknown signal {word:?}")),
    };
    let pid = if whom.is_empty() { the_other()? } else { named(whom)? };
    kill_process(pid, signal).map_err(|error| format!("signal {word:?} {}: {error}", pid.as_raw_nonzero()))
}

/// A number, or the file that has one.
fn named(whom: &str) -> Result<Pid, String> {
    let read = |text: &str| text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    if let Some(pid) = read(whom) {
        return Ok(pid);
    }
    let text = fs::read_to_string(whom).map_err(|error| format!("invalid pid: {whom}: {error}"))?;
    read(&text).ok_or_else(|| format!("invalid pid: {whom} has none"))
}

/// The only other process that runs this program.
fn the_other() -> Result<Pid, String> {
    let program = |pid: &Path| fs::read_link(pid.join("exe")).ok();
    let own = program(Path::new("/proc/self"))
        .ok_or("cannot look for processes here; name one: --signal word=pid")?;
    let all = fs::read_dir("/proc").map_err(|error| format!("cannot look for processes: {error}"))?;
    let paths = all.filter_map(Result::ok).map(|entry| entry.path());
    let others: Vec<PathBuf> = paths.filter(|path| program(path).as_ref() == Some(&own)).collect();
    let mut pids: Vec<u32> =
        others.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect();
    pids.retain(|pid| *pid != std::process::id());
    match &pids[..] {
        [] => Err("no nats-server processes running".to_owned()),
        [only] => named(&only.to_string()),
        [_, ..] => {
            let all: Vec<String> = pids.iter().map(u32::to_string).collect();
            Err(format!("multiple nats-server processes running:\n{}", all.join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_signal_is_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pid");
        fs::write(&file, " 4711\n").expect("written");
        let raw = |whom: &str| named(whom).map(|pid| pid.as_raw_nonzero().get()).ok();
        assert_eq!(raw("4711"), Some(4711));
        assert_eq!(raw(file.to_str().expect("text")), Some(4711));
        for nobody in ["0", "1", "-1", "x", "99999999999999", "there/is/none"] {
            assert_eq!(raw(nobody), None, "{nobody}");
        }
        assert!(send("jump=4711").is_err_and(|text| text.contains("unknown signal")));
    }
}
