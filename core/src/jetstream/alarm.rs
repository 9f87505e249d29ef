//! When whom to wake: one entry for every stream, consumer and archive that waits for time to pass.
//!
//! Each owner knows its own next moment; this is the index that finds the earliest of all without asking everybody.

use super::{ConsumerKey, Timer};
use crate::time::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who waits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Owner {
    Stream(Arc<str>),
    Consumer(ConsumerKey),
    /// A snapshot or a restore.
    Archive(String),
}

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Alarms {
    by_time: BTreeSet<(Mono, Timer, Owner)>,
    by_owner: BTreeMap<Owner, (Mono, Timer)>,
}

impl Alarms {
    /// Replaces the owner's alarm; `None` when it waits for nothing.
    pub(super) fn set(&mut self, owner: Owner, due: Option<(Mono, Timer)>) {
        if self.by_owner.get(&owner) == due.as_ref() {
            return;
        }
        if let Some((at, timer)) = self.by_owner.remove(&owner) {
            self.by_time.remove(&(at, timer, owner.clone()));
        }
        if let Some((at, timer)) = due {
            self.by_time.insert((at, timer, owner.clone()));
            self.by_owner.insert(owner, (at, timer));
        }
    }

    pub(super) fn get(&self, owner: &Owner) -> Option<(Mono, Timer)> {
        self.by_owner.get(owner).copied()
    }

    pub(super) fn first(&self) -> Option<(Mono, Timer)> {
        self.by_time.first().map(|(at, timer, _)| (*at, *timer))
    }

    /// Everybody whose moment has come, earliest first.
    pub(super) fn due(&self, now: Mono) -> Vec<Owner> {
        self.by_time.iter().take_while(|(at, ..)| *at <= now).map(|(.., owner)| owner.clone()).collect()
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.by_owner.keys()
    }
}
