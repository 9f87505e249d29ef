//! The embedded broker: the shell around the core's broker machine.

pub mod options;
