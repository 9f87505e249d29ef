//! Archives under way: snapshots of streams that clients take, and restores.
//!
//! ```text
//!  STREAM.SNAPSHOT ─► snapshot: read ─► pack ─► chunk ─► wait for acks when the window is full ─► end
//!  STREAM.RESTORE  ─► restore:  chunk ─► unpack ─► stream, consumers, messages ─► ack ─► next ─► answer
//! ```
//!
//! Both go on a bounded piece a step, and wait for their client with a deadline. All of it is lost in a restart: the client
//! begins again.
//!
//! Limits: [`ARCHIVES_MAX`] at a time. A step handles at most [`STEP_BYTES`] and one entry, and as many messages as one
//! may deliver.

use super::alarm::Owner;
use super::restore::Restore;
use super::snapshot::Snapshot;
use super::{Effect, Input, JetStream, Timer};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet};

/// Most snapshots and restores at a time.
const ARCHIVES_MAX: usize = 64;
/// How much of an archive one step writes or reads, in bytes before compression.
const STEP_BYTES: usize = 1 << 20;

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Archives {
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    pub(super) restores: BTreeMap<String, Restore>,
    /// Those that have something to do.
    due: BTreeSet<String>,
}

impl Archives {
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.snapshots.len() + self.restores.len() >= ARCHIVES_MAX
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.snapshots.contains_key(id) || self.restores.contains_key(id)
    }

    pub(super) fn set_due(&mut self, id: &str) {
        self.due.insert(id.to_owned());
    }
}

/// What is left of what a step may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    messages: usize,
    bytes: usize,
}

impl Budget {
    pub(super) const fn is_spent(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    pub(super) const fn spend(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What becomes of an archive after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    /// There is more to do at once.
    GoesOn,
    /// It waits for its client, until this moment.
    Waits(Mono),
    Over,
}

impl JetStream {
    /// Goes on with those that have something to do; with the rest of it in the next turn.
    pub(super) fn on_archives_due(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        for id in std::mem::take(&mut self.archives.due) {
            let budget = Budget { messages: self.limits.deliveries_per_step_max, bytes: STEP_BYTES };
            let then = if let Some(mut snapshot) = self.archives.snapshots.remove(&id) {
                let then = self.write_on(now, &id, &mut snapshot, budget, cx)?;
                if then != Then::Over {
                    self.archives.snapshots.insert(id.clone(), snapshot);
                }
                then
            } else if let Some(mut restore) = self.archives.restores.remove(&id) {
                let then = self.read_on(now, &mut restore, budget, cx)?;
                if then != Then::Over {
                    self.archives.restores.insert(id.clone(), restore);
                }
                then
            } else {
                Then::Over
            };
            let due = match then {
                Then::GoesOn => {
                    self.archives.set_due(&id);
                    None
                }
                Then::Waits(until) => Some((until, Timer::Archiving)),
                Then::Over => None,
            };
            self.alarms.set(Owner::Archive(id), due);
        }
        if !self.ready.is_empty() {
            cx.then(Input::Signalled);
        }
        Ok(())
    }

    /// An archive that ends here, whatever it waited for.
    pub(super) fn forget_archive(&mut self, id: &str) {
        self.archives.due.remove(id);
        self.alarms.set(Owner::Archive(id.to_owned()), None);
    }
}
