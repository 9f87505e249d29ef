//! One run of the command, from its first log line to its last.

use super::files::{Ports, Traces};
use super::flags::Flags;
use super::logging::{self, Lines};
use super::monitor::Monitor;
use super::settings::Settings;
use super::signals::{Asked, Signals};
use super::{digest, reload};
use crate::broker::options::{JetStream, Listen, Options, Store};
use crate::broker::{self, Desk, PROTOCOL_VERSION, Running, StartError};
use cloudlysis_core::nats::Auth;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The real server's banner: people look for it.
const BANNER: [&str; 4] = [
    r"    _ ___ _____ ___ _____ ___ ___   _   __  __",
    r" _ | | __|_   _/ __|_   _| _ \ __| /_\ |  \/  |",
    r"| || | _|  | | \__ \ | | |   / _| / _ \| |\/| |",
    r" \__/|___| |_| |___/ |_| |_|_\___/_/ \_\_|  |_|",
];

/// Runs until it is asked to stop, or cannot go on. An error that is not logged is returned.
pub(super) async fn run(flags: &Flags, mut settings: Settings, program: &str) -> Result<(), String> {
    let lines = logging::start(&settings.log).map_err(|error| format!("error opening log file: {error}"))?;
    let mut signals = Signals::listen().map_err(|error| error.to_string())?;
    let server_id = broker::new_server_id();
    settings.options.server_id = Some(server_id.clone());
    greet(&settings, &server_id);
    let running = broker::start(settings.options.clone()).await.map_err(|error| fatal(&error))?;
    let monitoring = match &settings.options.monitor {
        None => None,
        Some(listen) => Some(monitor(listen, &settings.options, &server_id, &running).await?),
    };
    let mut traces = Traces::default();
    leave_traces(&mut traces, &settings, &running, monitoring, program)?;
    announce(&settings.options, &running);
    let desk = running.desk();
    loop {
        tokio::select! {
            () = desk.ended() => break,
            asked = signals.next() => match asked {
                Asked::Stop => break,
                Asked::Reload => reconfigure(flags, &mut settings, &desk).await,
                Asked::Reopen => reopen(&lines),
                Asked::Leave => desk.leave().await,
            },
        }
    }
    tracing::info!("Initiating Shutdown...");
    let has_jetstream = settings.options.jetstream.is_some();
    if has_jetstream {
        tracing::info!("Initiating JetStream Shutdown...");
    }
    let ended = running.stop().await;
    if has_jetstream {
        tracing::info!("JetStream Shutdown");
    }
    drop(traces);
    tracing::info!("Server Exiting..");
    ended.map_err(|halt| halt.to_string())
}

fn fatal(error: &StartError) -> String {
    if let StartError::Bind { address, source } = error {
        tracing::error!("Error listening on port: {address}, \"{source}\"");
    } else {
        tracing::error!("Can't start: {error}");
    }
    error.to_string()
}

fn greet(settings: &Settings, server_id: &str) {
    let options = &settings.options;
    tracing::info!("Starting nats-server");
    tracing::info!("  Version:  {PROTOCOL_VERSION}");
    tracing::info!("  Git:      [cloudlysis {}]", env!("CARGO_PKG_VERSION"));
    tracing::info!("  Name:     {}", options.server_name.as_deref().unwrap_or(server_id));
    tracing::info!("  ID:       {server_id}");
    if !options.tags.is_empty() {
        tracing::info!("  Tags:     [{}]", options.tags.join(" "));
    }
    if options.auth != Auth::Open {
        tracing::debug!("clients must say who they are");
    }
    if let Some(path) = &settings.config_file {
        tracing::info!("Using configuration file: {} ({})", path.display(), digest(path));
    }
    if let Some(jetstream) = &options.jetstream {
        greet_jetstream(jetstream);
    }
}

fn greet_jetstream(jetstream: &JetStream) {
    tracing::info!("Starting JetStream");
    BANNER.iter().for_each(|line| tracing::info!("{line}"));
    tracing::info!("");
    tracing::info!("---------------- JETSTREAM ----------------");
    let bound =
        |bytes: Option<u64>| bytes.map_or_else(|| "Unlimited".to_owned(), |bytes| format!("{bytes} B"));
    tracing::info!("  Strict:          {}", jetstream.strict);
    tracing::info!("  Max Memory:      {}", bound(jetstream.memory_bytes_max));
    tracing::info!("  Max Storage:     {}", bound(jetstream.storage_bytes_max));
    match &jetstream.store {
        Store::Memory => tracing::info!("  Store Directory: none"),
        Store::Directory { directory, .. } => {
            tracing::info!("  Store Directory: \"{}\"", directory.display())
        }
    }
    if let Some(domain) = &jetstream.domain {
        tracing::info!("  Domain:          {domain}");
    }
    tracing::info!("-------------------------------------------");
}

async fn monitor(
    listen: &Listen,
    options: &Options,
    server_id: &str,
    running: &Running,
) -> Result<SocketAddr, String> {
    let address = format!("{}:{}", listen.host, listen.port);
    let wrong = |error: std::io::Error| {
        tracing::error!("Can't listen to the monitor port: {address}: {error}");
        format!("can't listen to the monitor port {address}: {error}")
    };
    let listener = TcpListener::bind((listen.host.as_str(), listen.port)).await.map_err(wrong)?;
    let local = listener.local_addr().map_err(wrong)?;
    tracing::info!("Starting http monitor on {local}");
    let monitor = Monitor::of(running.desk(), options.clone(), server_id.to_owned(), running.address.port());
    tokio::spawn(axum::serve(listener, monitor.router()).into_future());
    Ok(local)
}

fn leave_traces(
    traces: &mut Traces,
    settings: &Settings,
    running: &Running,
    monitoring: Option<SocketAddr>,
    program: &str,
) -> Result<(), String> {
    let Settings { options, pid_file, ports_file_dir, .. } = settings;
    if let Some(path) = pid_file {
        traces.pid(path).map_err(|error| format!("could not write pid file {}: {error}", path.display()))?;
    }
    if let Some(directory) = ports_file_dir {
        let websocket = running.websocket.map(|address| {
            (address, options.websocket.as_ref().is_some_and(|websocket| websocket.tls.is_some()))
        });
        let encrypted = options.tls.is_some();
        let ports = Ports { clients: running.address, encrypted, monitoring, websocket };
        let written = traces.ports(directory, program, &ports);
        written.map_err(|error| format!("could not write ports file in {}: {error}", directory.display()))?;
    }
    Ok(())
}

fn announce(options: &Options, running: &Running) {
    if let (Some(address), Some(websocket)) = (running.websocket, &options.websocket) {
        let scheme = if websocket.tls.is_some() { "wss" } else { "ws" };
        tracing::info!("Listening for websocket clients on {scheme}://{address}");
        if websocket.tls.is_none() {
            tracing::warn!("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
        }
    }
    tracing::info!("Listening for client connections on {}", running.address);
    if options.tls.as_ref().is_some_and(|tls| !tls.optional) {
        tracing::info!("TLS required for client connections");
    }
    tracing::info!("Server is ready");
}

/// What can be changed is changed; if anything else would have to be, nothing is.
async fn reconfigure(flags: &Flags, settings: &mut Settings, desk: &Desk) {
    let possible = flags.settings().and_then(|mut new| {
        new.options.server_id.clone_from(&settings.options.server_id);
        reload::is_possible(settings, &new).map(|()| new)
    });
    match possible {
        Ok(new) => {
            *settings = new;
            let options = &settings.options;
            desk.reconfigure(options.auth.clone(), options.limits).await;
            let digest = settings.config_file.as_deref().map(digest).unwrap_or_default();
            tracing::info!("Reloaded server configuration ({digest})");
        }
        Err(text) => tracing::error!("Failed to reload server configuration: {}", text.trim_end()),
    }
}

fn reopen(lines: &Lines) {
    match lines.reopen() {
        Ok(true) => tracing::info!("File log re-opened"),
        Ok(false) => tracing::info!("File log re-open ignored, not a file logger"),
        Err(error) => tracing::error!("File log could not be re-opened: {error}"),
    }
}
