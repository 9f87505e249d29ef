//! Ending in order: first nothing new comes in, then what is under way ends, then the process.

use crate::partition::Status;
use cloudlysis_core::drain::Report;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Resolves when the process is asked to end: SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be listened to.
pub async fn requested() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    Ok(())
}

/// Waits for a partition's drain to end; `None` when it did not within `deadline`, or the partition had stopped.
pub async fn drained(mut status: watch::Receiver<Status>, deadline: Duration) -> Option<Report> {
    let over = status.wait_for(|status| status.drained.is_some() || status.halted.is_some());
    match tokio::time::timeout(deadline, over).await {
        Ok(Ok(status)) => status.drained,
        Ok(Err(_)) | Err(_) => None,
    }
}
