//! What the command was told, by its flags and its file: the broker's [`Options`], and what only a command has.

use crate::broker::options::{CLIENT_PORT_DEFAULT, Listen, Options};
use std::path::PathBuf;

/// Everything the command needs to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The broker.
    pub options: Options,
    /// Where the process leaves its id.
    pub pid_file: Option<PathBuf>,
    /// Where the process says which ports it has.
    pub ports_file_dir: Option<PathBuf>,
    /// What is logged, and where to.
    pub log: Log,
    /// Which file all this was read from.
    pub config_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let listen = Listen { host: "0.0.0.0".to_owned(), port: CLIENT_PORT_DEFAULT };
        Self {
            options: Options::on(listen),
            pid_file: None,
            ports_file_dir: None,
            log: Log::DEFAULT,
            config_file: None,
        }
    }
}

/// What is logged, and where to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Standard error if absent.
    pub file: Option<PathBuf>,
    /// Whether a line says when.
    pub time: bool,
    /// Whether it says so in UTC.
    pub utc: bool,
    /// Whether what only a developer wants is logged.
    pub debug: bool,
    /// Whether every operation is logged.
    pub trace: bool,
}

impl Log {
    const DEFAULT: Self = Self { file: None, time: true, utc: false, debug: false, trace: false };
}
