//! Ending in order: first nothing new comes in, then what is under way ends, then the process.

use crate::partition::Status;
use cloudlysis_core::drain::Report;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What asks the process to end: SIGTERM and SIGINT. From when it is listened to, neither ends it at once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens: before anybody can see that the process is up, and ask it to end.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves when the process has been asked to end since.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
    }
}

/// Waits for a partition's drain to end; `None` when it did not within `deadline`, or the partition had stopped.
pub async fn drained(mut status: watch::Receiver<Status>, deadline: Duration) -> Option<Report> {
    let over = status.wait_for(|status| status.drained.is_some() || status.halted.is_some());
    match tokio::time::timeout(deadline, over).await {
        Ok(Ok(status)) => status.drained,
        Ok(Err(_)) | Err(_) => None,
    }
}
