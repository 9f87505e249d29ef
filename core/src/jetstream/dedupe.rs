//! The message ids of a stream within its duplicate window.
//!
//! The window is measured from the first store and repeats do not extend it. Ids survive the removal of their message
//! while the broker runs; recovery knows only those of messages that are still stored.

use crate::time::Wall;
use std::collections::BTreeMap;
use std::sync::Arc;

const MS_NS: u64 = 1_000_000;

/// Derived on recovery from the stored messages.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct MessageIds {
    by_id: BTreeMap<Arc<str>, (Wall, u64)>,
    by_age: BTreeMap<(Wall, u64), Arc<str>>,
}

/// Whether something stored at `at` is still within the window.
const fn is_within(at: Wall, now: Wall, window_ns: u64) -> bool {
    now.as_ms().saturating_sub(at.as_ms()) < window_ns.div_ceil(MS_NS)
}

impl MessageIds {
    /// The sequence that was stored under this id, if within the window.
    pub(super) fn seen(&self, id: &str, now: Wall, window_ns: u64) -> Option<u64> {
        let (at, seq) = self.by_id.get(id)?;
        is_within(*at, now, window_ns).then_some(*seq)
    }

    /// Remembers that `seq` was stored under this id.
    pub(super) fn insert(&mut self, id: Arc<str>, seq: u64, at: Wall) {
        if let Some(older) = self.by_id.insert(id.clone(), (at, seq)) {
            self.by_age.remove(&older);
        }
        self.by_age.insert((at, seq), id);
    }

    /// Forgets what left the window.
    pub(super) fn trim(&mut self, now: Wall, window_ns: u64) {
        while let Some(oldest) = self.by_age.first_entry() {
            if is_within(oldest.key().0, now, window_ns) {
                return;
            }
            self.by_id.remove(&oldest.remove());
        }
    }

    /// When the oldest id leaves the window.
    pub(super) fn due(&self, window_ns: u64) -> Option<Wall> {
        let ((at, _), _) = self.by_age.first_key_value()?;
        Some(Wall::from_ms(at.as_ms().saturating_add(window_ns.div_ceil(MS_NS))))
    }

    /// Forgets one id, whatever its age.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(entry) = self.by_id.remove(id) {
            self.by_age.remove(&entry);
        }
    }

    /// Forgets every id stored under a sequence beyond this one.
    pub(super) fn forget_after(&mut self, last_seq: u64) {
        self.by_id.retain(|_, (_, seq)| *seq <= last_seq);
        self.by_age.retain(|(_, seq), _| *seq <= last_seq);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_id.iter().map(|(id, (_, seq))| (id.as_ref(), *seq))
    }
}
