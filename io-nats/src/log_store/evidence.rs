//! What the log behind a damaged place says: was that place on disk, is it needed at all, what would be lost?
//!
//! Every record's header names the position up to which everything was on disk when it was written. A header that holds
//! behind the damage, whatever became of its body, is therefore a witness. Segments are searched at every place where a
//! record may begin, because the chain of lengths is broken.

use super::format::{self, ALIGN, Position, Seal};
use super::segments;
use std::io;
use std::path::Path;

/// What was found behind a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Evidence {
    /// Everything before had been on disk.
    pub(super) synced: Position,
    /// Segments before are not needed.
    pub(super) first: u32,
    /// Records whose header holds.
    pub(super) records: u64,
    /// From the place to the end, in bytes.
    pub(super) bytes: u64,
}

/// Searches everything from a place on, in the segments that are there.
pub(super) fn collect(
    directory: &Path,
    present: &[u32],
    seal: &Seal,
    from: Position,
) -> Result<Evidence, (io::Error, u32)> {
    let mut evidence = Evidence::default();
    for segment in present.iter().copied().filter(|segment| *segment >= from.segment) {
        let bytes = std::fs::read(segments::path(directory, segment)).map_err(|error| (error, segment))?;
        let start = if segment == from.segment { from.offset as usize } else { 0 };
        evidence.bytes += bytes.len().saturating_sub(start) as u64;
        if start == 0
            && let Ok(header) = format::parse_segment_header(&bytes)
        {
            evidence.first = evidence.first.max(header.first);
        }
        evidence.search(&bytes, seal, segment, start);
    }
    Ok(evidence)
}

impl Evidence {
    fn search(&mut self, bytes: &[u8], seal: &Seal, segment: u32, start: usize) {
        let mut offset = start.next_multiple_of(ALIGN);
        while offset < bytes.len() {
            match seal.parse(&bytes[offset..], Position { segment, offset: format::short(offset) }) {
                Some(header) => {
                    self.synced = self.synced.max(header.synced);
                    self.first = self.first.max(header.first);
                    self.records += 1;
                    offset += header.record_bytes();
                }
                None => offset += ALIGN,
            }
        }
    }
}
