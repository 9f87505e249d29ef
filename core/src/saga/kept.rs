//! Instances in memory: those that reacted last, so that what comes next for one need not read its row again.
//!
//! ```text
//! written ─► young ── as many are young as may be ─► old ── the next time ─► gone
//!              ▲                                      │
//!              └──────────── written again ◄── taken ─┘
//! ```
//!
//! Whoever reacts takes it, and keeps what it wrote. What ended, and what is large, is not kept.
//!
//! Derived: all of it, from the rows. Limit: [`GENERATION_MAX`] instances, twice, each of at most [`ROW_BYTES_MAX`].

use super::instance::Instance;
use super::transition::Sagas;
use crate::halt::Halt;
use crate::store::{Table, View};
use std::collections::BTreeMap;

const GENERATION_MAX: usize = 2_048;
/// Largest row of an instance that is kept, in bytes.
const ROW_BYTES_MAX: usize = 4 << 10;

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Kept {
    young: BTreeMap<Vec<u8>, Instance>,
    old: BTreeMap<Vec<u8>, Instance>,
}

impl Kept {
    fn take(&mut self, key: &[u8]) -> Option<Instance> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// What its row says from now on.
    pub(super) fn keep(&mut self, key: &[u8], instance: Instance, row_bytes: usize) {
        if instance.status.is_final() || row_bytes > ROW_BYTES_MAX {
            return;
        }
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.to_owned(), instance);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Instance> {
        self.young.get(key).or_else(|| self.old.get(key))
    }
}

impl Sagas {
    /// The instance of a row, in the hands of a step from now on.
    pub(super) fn take(&mut self, key: &[u8], view: &dyn View) -> Result<Option<Instance>, Halt> {
        match self.kept.take(key) {
            Some(instance) => Ok(Some(instance)),
            None => view.get(Table::Saga, key)?.map(Instance::decode).transpose(),
        }
    }
}
