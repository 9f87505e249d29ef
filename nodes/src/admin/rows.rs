//! Committed rows, read beside the machine a page at a time.

use super::fault::Fault;
use cloudlysis_core::{Halt, StoreFault, View};
use cloudlysis_io_nats::store::Snapshots;
use serde::Deserialize;

/// Rows in one page unless asked otherwise, and at most.
pub(super) const PAGE: (usize, usize) = (100, 1_000);

/// Where a page begins, and how long it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageOf {
    /// Where the page before said that the next one begins; empty for the first.
    pub after: String,
    /// At most so many rows; a usual number unless said, and never more than is allowed.
    pub limit: Option<usize>,
}

impl PageOf {
    /// So many rows, within what is usual and what is allowed.
    pub(super) fn at_most(&self, (usual, most): (usize, usize)) -> usize {
        self.limit.unwrap_or(usual).clamp(1, most)
    }
}

/// Where the next page begins, in text.
pub(super) fn next(key: Option<Vec<u8>>) -> Option<String> {
    key.map(|key| String::from_utf8_lossy(&key).into_owned())
}

pub(super) fn read<R>(
    snapshots: &Snapshots,
    read: impl FnOnce(&dyn View) -> Result<R, Halt>,
) -> Result<R, Fault> {
    let answer: Result<Result<R, Halt>, StoreFault> = snapshots.read(read);
    answer.map_err(Fault::unreadable)?.map_err(Fault::unreadable)
}
