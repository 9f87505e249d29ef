//! What is on disk: who syncs, when, and up to where it is known.
//!
//! ```text
//!  written ─► unsynced files, oldest first ─► each fdatasync, then the directory ─► synced = what was written before
//! ```
//!
//! - INV: `synced` moves only after every file that holds something before it was synced, and the names of all files.
//! - A sync that failed is never tried again: the system may have dropped the pages and would call the next one a
//!   success. The store is unusable from then on.
//!
//! With an interval a thread of its own syncs, so long after the first write that is not on disk, or at once in a hurry.

use super::SyncPolicy;
use super::format::Position;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct State {
    /// Segments with something that is not on disk, oldest first.
    unsynced: Vec<(u32, Arc<File>)>,
    /// Files were made or renamed.
    names_changed: bool,
    /// Everything before was written.
    end: Position,
    /// Everything before is on disk.
    synced: Position,
    failed: bool,
    hurry: bool,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// One sync at a time: otherwise a later one could be done first and claim what an earlier one has not done.
    syncing: Mutex<()>,
    directory: File,
    count: SyncCount,
}

/// How many files were brought to disk since a store was opened.
#[derive(Clone, Debug, Default)]
pub struct SyncCount(Arc<AtomicU64>);

impl SyncCount {
    /// So many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Syncs, here or in its thread.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn sync(&self) -> io::Result<()> {
        let _alone = held(&self.syncing);
        let (files, names_changed, end) = {
            let mut state = held(&self.state);
            if state.failed {
                return Err(io::Error::other("an earlier sync failed"));
            }
            state.hurry = false;
            (std::mem::take(&mut state.unsynced), std::mem::take(&mut state.names_changed), state.end)
        };
        self.count.0.fetch_add(files.len() as u64 + u64::from(names_changed), Ordering::Relaxed);
        let files_synced = files.iter().try_for_each(|(_, file)| file.sync_data());
        let done = files_synced.and_then(|()| if names_changed { self.directory.sync_all() } else { Ok(()) });
        let mut state = held(&self.state);
        match &done {
            Ok(()) => state.synced = end,
            Err(error) => {
                tracing::error!(%error, "the broker's log could not be synced: it takes no more writes");
                state.failed = true;
            }
        }
        done
    }

    fn run(&self, interval: Duration) {
        let mut state = held(&self.state);
        loop {
            while state.unsynced.is_empty() && !state.stop {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let due = Instant::now() + interval;
            while !state.hurry && !state.stop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.stop {
                return;
            }
            drop(state);
            if self.sync().is_err() {
                return;
            }
            state = held(&self.state);
        }
    }
}

impl Syncer {
    /// Begins with files of which nothing behind `synced` is known to be on disk.
    pub(super) fn start(
        policy: SyncPolicy,
        directory: File,
        unsynced: Vec<(u32, Arc<File>)>,
        synced: Position,
        end: Position,
    ) -> io::Result<Self> {
        let state =
            State { unsynced, names_changed: true, end, synced, failed: false, hurry: false, stop: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            syncing: Mutex::new(()),
            directory,
            count: SyncCount::default(),
        });
        let thread = match policy {
            SyncPolicy::Always => None,
            SyncPolicy::Interval(interval) => {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name("log-sync".into());
                Some(builder.spawn(move || shared.run(interval))?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// Something was appended to a segment; the log ends there now.
    pub(super) fn written(&self, segment: u32, file: &Arc<File>, end: Position) {
        let mut state = held(&self.shared.state);
        state.end = end;
        let was_clean = state.unsynced.is_empty();
        if state.unsynced.last().is_none_or(|(last, _)| *last != segment) {
            state.unsynced.push((segment, Arc::clone(file)));
        }
        drop(state);
        if was_clean {
            self.shared.wake.notify_one();
        }
    }

    /// A segment was made.
    pub(super) fn names_changed(&self) {
        held(&self.shared.state).names_changed = true;
    }

    /// Brings everything written so far to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.shared.sync()
    }

    /// What is counted.
    pub(super) fn count(&self) -> SyncCount {
        self.shared.count.clone()
    }

    /// Does not wait for the interval.
    pub(super) fn hurry(&self) {
        held(&self.shared.state).hurry = true;
        self.shared.wake.notify_one();
    }

    /// Everything before is on disk; `None` when a sync failed.
    pub(super) fn synced(&self) -> Option<Position> {
        let state = held(&self.shared.state);
        (!state.failed).then_some(state.synced)
    }

    /// Ends the thread.
    pub(super) fn stop(&mut self) {
        held(&self.shared.state).stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the broker's log panicked");
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop();
    }
}
