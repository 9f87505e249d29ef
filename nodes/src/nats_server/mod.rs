//! The command that stands in for `nats-server`: its flags, its configuration files, its log lines, its signals.
//!
//! ```text
//!  flags ──┐
//!          ├──► Settings ──► Options ──► the broker
//!  file  ──┘        └──────► log file, pid file, ports file, signals
//! ```
//!
//! Test suites of clients start a server by this command's flags, wait for its log lines and read its files; so these
//! are the real server's, letter by letter. What it cannot do it refuses by name.

pub mod config;
pub mod flags;
pub mod settings;
