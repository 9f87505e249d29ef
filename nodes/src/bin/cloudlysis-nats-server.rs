//! A command that stands in for `nats-server`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudlysis_nodes::nats_server::main()
}
