//! How readers see what the writer's journal has and LMDB has not yet: they ask for it, and wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a reader waits for a writer that does nothing; it reads what is there then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Turns that are durable, and those that readers see.
#[derive(Debug, Default)]
pub(super) struct Visible {
    durable: AtomicU64,
    seen: Mutex<u64>,
    moved: Condvar,
    asked: AtomicBool,
    wake: Notify,
}

impl Visible {
    /// One more turn is in the journal.
    pub(super) fn journaled(&self) {
        self.durable.fetch_add(1, Ordering::Release);
    }

    /// All of them are in LMDB.
    pub(super) fn committed(&self) {
        self.asked.store(false, Ordering::Relaxed);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.durable.load(Ordering::Acquire);
        self.moved.notify_all();
    }

    /// Whether a reader waits.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Until a reader asks.
    pub(super) async fn asked(&self) {
        self.wake.notified().await;
    }

    /// Until everything that is durable now can be read.
    pub(super) fn wait(&self) {
        let wanted = self.durable.load(Ordering::Acquire);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen >= wanted {
            return;
        }
        self.asked.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        drop(self.moved.wait_timeout_while(seen, PATIENCE, |seen| *seen < wanted));
    }
}
