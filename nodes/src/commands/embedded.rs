//! The broker of this process: alone, or under the nodes of `dev`.

use super::{CommandError, say};
use crate::broker::options::{JetStream, Listen, Options, SyncPolicy};
use crate::broker::{self, Running, StartError};
use crate::cli::BrokerArguments;
use crate::server::ListenError;
use crate::shutdown::Signals;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How many ports behind the wanted one are tried.
const PORTS_MAX: u16 = 100;

fn options(listen: SocketAddr, data: PathBuf, sync: SyncPolicy) -> Options {
    let listen = Listen { host: listen.ip().to_string(), port: listen.port() };
    Options { jetstream: Some(JetStream::in_directory(data, sync)), ..Options::on(listen) }
}

/// `cloudlysis serve broker`.
pub(super) async fn serve(arguments: &BrokerArguments) -> Result<(), CommandError> {
    if !arguments.listen.ip().is_loopback() && !arguments.allow_unauthenticated {
        return Err(ListenError::Unauthenticated(arguments.listen).into());
    }
    let mut signals = Signals::listen().map_err(|source| CommandError::System { what: "signals", source })?;
    let running = broker::start(options(arguments.listen, arguments.data.clone(), arguments.sync)).await?;
    say(&format!("cloudlysis {} broker   nats://{}", env!("CARGO_PKG_VERSION"), running.address));
    signals.requested().await;
    stop(running).await
}

/// Starts a broker on a port or, if somebody else listens there, on the next that is free.
pub(super) async fn start_near(
    listen: SocketAddr,
    data: PathBuf,
    sync: SyncPolicy,
) -> Result<Running, StartError> {
    let mut wanted = listen;
    loop {
        match broker::start(options(wanted, data.clone(), sync)).await {
            Err(StartError::Bind { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse
                    && wanted.port() < u16::MAX
                    && wanted.port() - listen.port() < PORTS_MAX =>
            {
                wanted.set_port(wanted.port() + 1);
            }
            started => return started,
        }
    }
}

/// Stops it in good order.
pub(super) async fn stop(running: Running) -> Result<(), CommandError> {
    running.stop().await.map_err(|halt| CommandError::Halted(format!("the broker stopped: {halt}")))
}
