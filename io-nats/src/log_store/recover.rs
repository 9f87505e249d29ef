//! Opening: the log from its oldest segment to the first record that does not hold.
//!
//! ```text
//!  segment ─► record ─► … ─► end ─► next segment ─► … ─► end: clean
//!                │ does not hold
//!                ▼
//!            evidence behind it ─┬─ not needed (before `first`) ──► replay from `first`
//!                                ├─ it had been on disk ──► refuse, unless the operator drops it by name
//!                                └─ nothing proves that ──► torn: cut here, set the rest aside, go on in a new segment
//! ```
//!
//! A last segment that ends in zeros ends where they begin: room was made ahead of what was written.
//!
//! After a power cut any page that was not synced may be missing, old or zero, so nothing behind the first damage counts,
//! whole as it may look. What is cut is on disk before anything is appended, and never continued in the same segment:
//! the next one's header says where the one before ends, should the cut bytes come back.
//!
//! Costs one sequential read of the whole log. Memory: the index, and the largest record.

use super::evidence::{self, Evidence};
use super::format::{self, HeaderFault, Position, RECORD_HEADER_BYTES, Seal, SegmentHeader, StoreId};
use super::index::Index;
use super::opened::{Dropped, OpenError, Repair};
use super::reader::{RecordReader, Step};
use super::segments::{self, Segments};
use super::{bulk::Place, set_aside};
use cloudlysis_core::Table;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A log as it was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) store_id: StoreId,
    pub(super) index: Index,
    pub(super) segments: Segments,
    /// The oldest segment that is needed.
    pub(super) first: u32,
    /// Everything before is known to be on disk.
    pub(super) synced: Position,
    /// Where the last record ends that is more than a mark.
    pub(super) content_end: Position,
    /// Whether the last segment may grow on.
    pub(super) is_continued: bool,
}

type Headers = BTreeMap<u32, Option<SegmentHeader>>;

fn io_error(path: PathBuf) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { path, source }
}

/// Reads what is in a directory. No log at all is fine; so is one that was just about to be made.
pub(super) fn recover(
    directory: &Path,
    repair: Repair,
) -> Result<(Option<Recovered>, Option<Dropped>), OpenError> {
    let present = list(directory).map_err(io_error(directory.to_owned()))?;
    let headers = read_headers(directory, &present)?;
    let Some(store_id) = headers.values().flatten().map(|header| header.store_id).next() else {
        return nothing_readable(directory, &present, repair).map(|dropped| (None, dropped));
    };
    let log = Log { directory, present, headers, store_id, seal: Seal::new(&store_id), repair };
    log.recover()
}

fn list(directory: &Path) -> io::Result<Vec<u32>> {
    let mut present = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        present.extend(entry?.file_name().to_str().and_then(segments::parse_name));
    }
    present.sort_unstable();
    Ok(present)
}

fn read_headers(directory: &Path, present: &[u32]) -> Result<Headers, OpenError> {
    let read = |segment: u32| {
        let file = segments::path(directory, segment);
        let mut bytes = Vec::new();
        File::open(&file)
            .and_then(|open| open.take(format::SEGMENT_HEADER_BYTES_MAX as u64).read_to_end(&mut bytes))
            .map_err(io_error(file.clone()))?;
        let newer = |found: String, known: String| OpenError::Newer { file, found, known };
        match format::parse_segment_header(&bytes) {
            Ok(header) => Ok((segment, Some(header).filter(|header| header.segment == segment))),
            Err(HeaderFault::Damaged) => Ok((segment, None)),
            Err(HeaderFault::Newer(version)) => {
                Err(newer(format!("format {version}"), format!("format {}", format::VERSION)))
            }
            Err(HeaderFault::UnknownTable(name)) => {
                Err(newer(format!("table {name}"), "the tables of this version".to_owned()))
            }
        }
    };
    present.iter().map(|segment| read(*segment)).collect()
}

/// No segment has a header. A store's first header is on disk before anything else is written: only a file too short for
/// more may be what a crash left of making it.
fn nothing_readable(directory: &Path, present: &[u32], repair: Repair) -> Result<Option<Dropped>, OpenError> {
    let Some(segment) = present.first().copied() else { return Ok(None) };
    let file = segments::path(directory, segment);
    let bytes = std::fs::metadata(&file).map_err(io_error(file.clone()))?.len();
    if present.len() == 1 && bytes <= format::segment_header([0; 16], 1, 1, 0).len() as u64 {
        std::fs::remove_file(&file).map_err(io_error(file.clone()))?;
        return Ok(None);
    }
    let from = Position { segment, offset: 0 };
    if repair == Repair::DropFrom(from) {
        let files = set_aside::from(directory, present, from, 1).map_err(io_error(directory.to_owned()))?;
        return Ok(Some(Dropped { from, bytes, records: 0, files }));
    }
    Err(OpenError::Corrupt { file, at: from, proof: "a log begins with a synced header".to_owned() })
}

/// A directory with at least one readable header.
struct Log<'d> {
    directory: &'d Path,
    present: Vec<u32>,
    headers: Headers,
    store_id: StoreId,
    seal: Seal,
    repair: Repair,
}

/// What was replayed so far.
struct Replay {
    index: Index,
    segments: Segments,
    first: u32,
    synced: Position,
    content_end: Position,
}

impl Log<'_> {
    fn path(&self, segment: u32) -> PathBuf {
        segments::path(self.directory, segment)
    }

    fn header(&self, segment: u32) -> Option<&SegmentHeader> {
        self.headers.get(&segment)?.as_ref().filter(|header| header.store_id == self.store_id)
    }

    fn recover(&self) -> Result<(Option<Recovered>, Option<Dropped>), OpenError> {
        let (mut start, last) = (self.present[0], self.present[self.present.len() - 1]);
        loop {
            let mut replay = Replay {
                index: Index::default(),
                segments: Segments::new(self.directory.to_owned(), start),
                first: 1,
                synced: Position::default(),
                content_end: Position::default(),
            };
            let Some(damage) = self.replay(&mut replay, last)? else {
                return Ok((Some(self.finish(replay, None)?), None));
            };
            let evidence = evidence::collect(self.directory, &self.present, &self.seal, damage)
                .map_err(|(source, segment)| OpenError::Io { path: self.path(segment), source })?;
            if evidence.first > damage.segment {
                // What is damaged was about to be removed, or came back after it was.
                start = evidence.first;
                continue;
            }
            self.judge(start, damage, evidence)?;
            return self.cut(replay, damage, evidence);
        }
    }

    /// `Ok` when a damaged place may be dropped.
    fn judge(&self, start: u32, damage: Position, evidence: Evidence) -> Result<(), OpenError> {
        // The oldest header is on disk before the segment before it goes, or before anything else is written.
        let is_oldest_header = damage.segment == start && self.header(start).is_none();
        let proof = if evidence.synced > damage {
            format!("a sync mark behind it reaches to {}", evidence.synced)
        } else if is_oldest_header {
            "the oldest segment's header is synced before it becomes the oldest".to_owned()
        } else {
            return Ok(());
        };
        if self.repair == Repair::DropFrom(damage) {
            tracing::warn!(at = %damage, proof, "the broker's log is cut as its operator wants it");
            return Ok(());
        }
        Err(OpenError::Corrupt { file: self.path(damage.segment), at: damage, proof })
    }

    /// Replays until the end or the first damage.
    fn replay(&self, replay: &mut Replay, last: u32) -> Result<Option<Position>, OpenError> {
        for segment in replay.segments.first()..=last {
            let Some(header) = self.header(segment) else {
                return Ok(Some(Position { segment, offset: 0 }));
            };
            let path = self.path(segment);
            let file = File::open(&path).map_err(io_error(path.clone()))?;
            let file_bytes = file.metadata().map_err(io_error(path.clone()))?.len();
            let file_end = u32::try_from(file_bytes).unwrap_or(u32::MAX);
            let known_end = self.header(segment + 1).map(|next| next.previous_end);
            let end = known_end.map_or(file_end, |end| end.min(file_end));
            replay.first = replay.first.max(header.first);
            let start = Position { segment, offset: header.header_bytes };
            let reader = RecordReader::new(file, self.seal.clone(), start, end);
            let mut reader = reader.map_err(io_error(path.clone()))?;
            replay.segments.push(start.offset);
            loop {
                match reader.step().map_err(io_error(path.clone()))? {
                    Step::Record(record, at) => {
                        replay.first = replay.first.max(record.first);
                        replay.synced = replay.synced.max(record.synced);
                        if record.body_bytes > 0 {
                            replay.content_end = reader.at();
                        }
                        self.apply(replay, header, at, reader.body())?;
                        replay.segments.grew(format::short(record.record_bytes()));
                    }
                    Step::End => break,
                    // Whether something is lost there is for the segment behind it to say.
                    Step::Blank if known_end.is_none() => break,
                    Step::Blank | Step::Damaged => return Ok(Some(reader.at())),
                }
            }
            if known_end.is_some_and(|known| known > end) {
                return Ok(Some(Position { segment, offset: end }));
            }
        }
        Ok(None)
    }

    fn apply(
        &self,
        replay: &mut Replay,
        header: &SegmentHeader,
        at: Position,
        body: &[u8],
    ) -> Result<(), OpenError> {
        let unreadable = || OpenError::Corrupt {
            file: self.path(at.segment),
            at,
            proof: "its checksum holds, its writes cannot be read".to_owned(),
        };
        let body_offset = at.offset + RECORD_HEADER_BYTES as u32;
        for write in format::writes(body) {
            let write = write.ok_or_else(unreadable)?;
            let table = *header.tables.get(usize::from(write.table)).ok_or_else(unreadable)?;
            let key = &body[write.key];
            let replaced = match write.value {
                Some(value) => {
                    let place = Place {
                        segment: at.segment,
                        offset: body_offset + value.start as u32,
                        bytes: value.len() as u32,
                    };
                    replay.segments.row_came(key.len(), place);
                    replay.index.put(table, key, place, &body[value])
                }
                None => replay.index.delete(table, key),
            };
            if let Some(replaced) = replaced {
                replay.segments.row_went(key.len(), replaced.place);
            }
        }
        Ok(())
    }

    fn cut(
        &self,
        replay: Replay,
        damage: Position,
        evidence: Evidence,
    ) -> Result<(Option<Recovered>, Option<Dropped>), OpenError> {
        let keep_from = self.header(damage.segment).map_or(u32::MAX, |header| header.header_bytes);
        let files = set_aside::from(self.directory, &self.present, damage, keep_from)
            .map_err(io_error(self.directory.to_owned()))?;
        let Evidence { records, bytes, .. } = evidence;
        let dropped = Dropped { from: damage, bytes, records, files };
        if replay.segments.is_empty() {
            return Ok((None, Some(dropped)));
        }
        let recovered = self.finish(replay, Some(evidence))?;
        Ok((Some(recovered), Some(dropped)))
    }

    fn finish(&self, replay: Replay, cut: Option<Evidence>) -> Result<Recovered, OpenError> {
        let Replay { index, segments, first, synced, content_end } = replay;
        let first = first.max(cut.map_or(0, |evidence| evidence.first));
        let oldest = segments.first();
        // The oldest segments go only after the log says, on disk, that they may.
        if oldest > first {
            return Err(OpenError::Missing { file: self.path(oldest - 1) });
        }
        for leftover in self.present.iter().filter(|segment| **segment < oldest) {
            let path = self.path(*leftover);
            std::fs::remove_file(&path).map_err(io_error(path))?;
        }
        let last = segments.last();
        let writes_our_tables = self.header(last).is_some_and(|header| header.tables == Table::ALL);
        let is_continued = cut.is_none() && writes_our_tables;
        let store_id = self.store_id;
        Ok(Recovered { store_id, index, segments, first, synced, content_end, is_continued })
    }
}
