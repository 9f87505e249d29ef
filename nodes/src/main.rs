//! The `cloudlysis` binary.

use cloudlysis_core::program::Natives;
use std::process::ExitCode;

fn main() -> ExitCode {
    cloudlysis_nodes::run(Natives::default())
}
