//! The command that stands in for `nats-server`: its flags, its configuration files, its log lines, its signals.
//!
//! ```text
//!  flags ──┐
//!          ├──► Settings ──► Options ──► the broker
//!  file  ──┘        └──────► log file, pid file, ports file, monitor, signals
//! ```
//!
//! Test suites of clients start a server by this command's flags, wait for its log lines and read its files; so these
//! are the real server's, letter by letter. What it cannot do it refuses by name.

pub mod config;
pub mod files;
pub mod flags;
pub mod logging;
pub mod monitor;
mod reload;
mod run;
pub mod settings;
pub mod signals;
mod usage;

use flags::{FlagError, Flags, Task};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::ExitCode;

/// Runs the command this process was started as.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args();
    let started_as = words.next().unwrap_or_default();
    let program = Path::new(&started_as).file_name().and_then(|name| name.to_str()).unwrap_or("nats-server");
    let words: Vec<String> = words.collect();
    let done = match flags::parse(&words) {
        Ok(Task::Help) => {
            usage::show();
            Ok(())
        }
        Ok(Task::Version) => {
            usage::show_version();
            Ok(())
        }
        Ok(Task::Signal(command)) => signals::send(&command),
        Ok(Task::Check(flags)) => check(&flags, program),
        Ok(Task::Serve(flags)) => serve(&flags, program),
        Err(FlagError::Usage(text)) => {
            complain(&text);
            usage::show();
            // As the real server has it.
            Ok(())
        }
        Err(FlagError::Refused(text)) => Err(text),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            complain(&format!("{program}: {text}"));
            ExitCode::FAILURE
        }
    }
}

fn check(flags: &Flags, program: &str) -> Result<(), String> {
    let path =
        flags.config().ok_or("must specify [-c, --config] option to check configuration file syntax")?;
    flags.settings()?;
    complain(&format!("{program}: configuration file {} is valid ({})", path.display(), digest(path)));
    Ok(())
}

fn serve(flags: &Flags, program: &str) -> Result<(), String> {
    let settings = flags.settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(run::run(flags, settings, program))
}

/// What names the contents of a file.
fn digest(path: &Path) -> String {
    let contents = std::fs::read(path).unwrap_or_default();
    let hex: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[expect(clippy::print_stderr, reason = "the command line's own words, not a log")]
fn complain(text: &str) {
    eprintln!("{text}");
}
