//! Space: the oldest segment's live rows move to the tail until it has none; then it goes.
//!
//! ```text
//!  oldest ─► live rows appended again, in steps ─► dead ─► dying ──────────────► announced ─────────────► removed
//!                                                            everything written      a header on disk
//!                                                            by then is on disk      says `first` is behind it
//! ```
//!
//! - Only the oldest segment is ever removed. So a delete in the log outlives every older put of its key: what is removed
//!   with it is older than all that stays, and nothing can come back. A segment in the middle whose rows are all gone waits
//!   for its turn, which costs nothing but its space.
//! - A segment goes only when everything that made it dead, moves as well as deletes, is on disk, and then only when the
//!   log says on disk that it may: after a power cut either its rows are found where they were, or what replaced them.
//! - Moved rows are read back whole and checked: rot is not copied under a new checksum.
//!
//! Work: a transaction pays for at most four times what was appended before it, or one record; [`LogStore::maintain`]
//! does a bounded step beside them. At four times, a round over the log removes more than is appended meanwhile, so the
//! log stays within twice its live rows and [`SLACK_SEGMENTS`], plus what waits for a sync.

use super::LogStore;
use super::bulk::Place;
use super::format::{self, Position, RECORD_HEADER_BYTES};
use super::opened::SyncPolicy;
use super::reader::{RecordReader, Step};
use super::segments;
use cloudlysis_core::{StoreFault, Table};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

/// How many segments beyond twice the live rows there may be.
pub(super) const SLACK_SEGMENTS: u64 = 4;
/// What is looked through for every byte appended, in bytes.
const SHARE: u64 = 4;
/// Less is not worth a step, in bytes.
const STEP_BYTES_MIN: u64 = 64 << 10;
/// What [`LogStore::maintain`] looks through, in bytes.
const MAINTENANCE_BYTES: u64 = 1 << 20;

/// A dead segment on its way out.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    segment: u32,
    is_announced: bool,
    /// Everything before must be on disk before it goes one step further.
    until: Position,
}

/// How far reclaiming has come.
#[derive(Debug)]
pub(super) struct Reclaim {
    /// The oldest segment needed, as headers say.
    first: u32,
    /// The oldest segments, in order.
    leaving: VecDeque<Leaving>,
    walk: Option<Walk>,
    /// Appended since the last step, in bytes.
    appended: u64,
}

/// Where the rows of a segment are being moved from.
#[derive(Debug)]
struct Walk {
    segment: u32,
    reader: RecordReader,
    tables: Vec<Table>,
}

/// A row on its way to the tail.
struct Move {
    table: Table,
    /// In the record that moves it.
    key: Range<usize>,
    value: Range<usize>,
    from: Place,
}

impl Reclaim {
    pub(super) const fn new(first: u32) -> Self {
        Self { first, leaving: VecDeque::new(), walk: None, appended: 0 }
    }

    /// What the next header says: the oldest segment needed, now that everything before `synced` is on disk.
    pub(super) fn announce(&mut self, synced: Position) -> u32 {
        let ready = |leaving: &&Leaving| leaving.is_announced || leaving.until <= synced;
        if let Some(last) = self.leaving.iter().take_while(ready).last() {
            self.first = self.first.max(last.segment + 1);
        }
        self.first
    }

    fn has_unannounced(&self, synced: Position) -> bool {
        self.leaving.iter().any(|leaving| !leaving.is_announced && leaving.until <= synced)
    }

    /// A record whose header says `first` was appended.
    pub(super) fn appended(&mut self, bytes: usize, end: Position) {
        self.appended += bytes as u64;
        for leaving in &mut self.leaving {
            if !leaving.is_announced && leaving.segment < self.first {
                *leaving = Leaving { is_announced: true, until: end, ..*leaving };
            }
        }
    }
}

impl LogStore {
    /// Does what is due between two transactions.
    pub(super) fn settle(&mut self) -> Result<(), StoreFault> {
        if self.is_poisoned {
            return Err(StoreFault::Io);
        }
        let Some(synced) = self.syncer.synced() else { return Err(self.poison()) };
        if self.segments.end().offset >= self.options.limits.segment_bytes.min(super::BYTES_MAX) {
            self.rotate()?;
        }
        self.retire();
        self.remove(synced)?;
        let step_bytes = self.reclaim.appended * SHARE;
        if step_bytes >= STEP_BYTES_MIN.min(u64::from(self.options.limits.segment_bytes)) {
            self.reclaim.appended = 0;
            self.step(step_bytes)?;
        }
        Ok(())
    }

    /// A bounded step of what is due, for a shell to call now and then: moves rows, removes segments, leaves a sync mark
    /// when nothing else is written. `true` when there is more to move.
    ///
    /// # Errors
    /// When the disk fails; the store is unusable then.
    pub fn maintain(&mut self) -> Result<bool, StoreFault> {
        self.settle()?;
        let before = self.segments.end();
        self.step(MAINTENANCE_BYTES)?;
        let Some(synced) = self.syncer.synced() else { return Err(self.poison()) };
        let has_news = self.marked < synced && self.marked < self.content_end;
        if has_news || self.reclaim.has_unannounced(synced) {
            self.mark()?;
        }
        if self.options.sync == SyncPolicy::Always && self.segments.end() != before {
            self.sync()?;
        }
        self.settle()?;
        Ok(self.is_due())
    }

    fn rotate(&mut self) -> Result<(), StoreFault> {
        match self.segments.create(self.store_id, self.reclaim.first) {
            Ok(()) => {
                self.syncer.names_changed();
                let end = self.segments.end();
                self.syncer.written(end.segment, self.segments.tail(), end);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the broker's log could not begin a segment");
                Err(if super::is_full(&error) { StoreFault::Full } else { self.poison() })
            }
        }
    }

    /// The oldest segment that is not leaving.
    fn oldest(&self) -> u32 {
        self.reclaim.leaving.back().map_or(self.segments.first(), |last| last.segment + 1)
    }

    /// Lets the oldest segments leave that are dead by now.
    fn retire(&mut self) {
        let until = self.segments.end();
        while self.oldest() < until.segment && self.segments.is_dead(self.oldest()) {
            let segment = self.oldest();
            self.reclaim.leaving.push_back(Leaving { segment, is_announced: false, until });
        }
    }

    fn remove(&mut self, synced: Position) -> Result<(), StoreFault> {
        while let Some(leaving) = self.reclaim.leaving.front().copied()
            && leaving.is_announced
            && leaving.until <= synced
        {
            if let Err(error) = self.segments.remove_first() {
                tracing::error!(%error, segment = leaving.segment, "a segment could not be removed");
                return Err(self.poison());
            }
            self.cache.get_mut().forget_segment(leaving.segment);
            self.reclaim.leaving.pop_front();
        }
        let waits = self.reclaim.leaving.front().is_some_and(|leaving| leaving.until > synced);
        if waits && self.leaving_bytes() >= 2 * u64::from(self.options.limits.segment_bytes) {
            self.syncer.hurry();
        }
        Ok(())
    }

    fn leaving_bytes(&self) -> u64 {
        let bytes = |leaving: &Leaving| u64::from(self.segments.end_of(leaving.segment).unwrap_or(0));
        self.reclaim.leaving.iter().map(bytes).sum()
    }

    /// Whether rows should move.
    fn is_due(&self) -> bool {
        let slack = SLACK_SEGMENTS * u64::from(self.options.limits.segment_bytes);
        let staying = self.segments.bytes() - self.leaving_bytes();
        staying > 2 * self.segments.live_bytes() + slack && self.oldest() < self.segments.last()
    }

    /// Looks through so many bytes of the oldest segment and moves what is live.
    fn step(&mut self, bytes: u64) -> Result<(), StoreFault> {
        if !self.is_due() {
            return Ok(());
        }
        let oldest = self.oldest();
        let walk = match self.reclaim.walk.take().filter(|walk| walk.segment == oldest) {
            Some(walk) => Ok(walk),
            None => self.walk(oldest),
        };
        let mut record = Vec::new();
        let mut moves = Vec::new();
        format::begin_record(&mut record);
        let walked = walk.and_then(|walk| self.collect(walk, bytes, &mut record, &mut moves));
        self.reclaim.walk = walked.map_err(|error| {
            tracing::error!(%error, segment = oldest, "a segment could not be read to move its rows");
            self.poison()
        })?;
        if moves.is_empty() {
            return Ok(());
        }
        let to = match self.append(&mut record) {
            Ok(to) => to,
            // There is no room to make room. What was looked through is looked through again.
            Err(StoreFault::Full) => {
                self.reclaim.walk = None;
                return Ok(());
            }
            Err(fault @ (StoreFault::Io | StoreFault::CommitUnknown)) => return Err(fault),
        };
        for Move { table, key, value, from } in moves {
            let place =
                Place { segment: to.segment, offset: to.offset + value.start as u32, bytes: from.bytes };
            self.index.moved(table, &record[key.clone()], place);
            self.segments.row_came(key.len(), place);
            self.segments.row_went(key.len(), from);
        }
        Ok(())
    }

    fn walk(&self, segment: u32) -> io::Result<Walk> {
        let path = segments::path(self.segments.directory(), segment);
        let mut head = Vec::new();
        let mut file = File::open(path)?;
        Read::by_ref(&mut file).take(format::SEGMENT_HEADER_BYTES_MAX as u64).read_to_end(&mut head)?;
        let header = format::parse_segment_header(&head).map_err(|_| damaged())?;
        let at = Position { segment, offset: header.header_bytes };
        let end = self.segments.end_of(segment).unwrap_or(0);
        let reader = RecordReader::new(file, self.seal.clone(), at, end)?;
        Ok(Walk { segment, reader, tables: header.tables })
    }

    /// Fills a record with live rows; `None` at the end of the segment.
    fn collect(
        &self,
        mut walk: Walk,
        bytes: u64,
        record: &mut Vec<u8>,
        moves: &mut Vec<Move>,
    ) -> io::Result<Option<Walk>> {
        let start = walk.reader.at().offset;
        while u64::from(walk.reader.at().offset - start) < bytes {
            let at = match walk.reader.step()? {
                Step::Record(_, at) => at,
                Step::End => return Ok(None),
                Step::Blank | Step::Damaged => return Err(damaged()),
            };
            let body = walk.reader.body();
            for write in format::writes(body) {
                let write = write.ok_or_else(damaged)?;
                let Some(value) = write.value else { continue };
                let table = *walk.tables.get(usize::from(write.table)).ok_or_else(damaged)?;
                let from = Place {
                    segment: at.segment,
                    offset: at.offset + (RECORD_HEADER_BYTES + value.start) as u32,
                    bytes: value.len() as u32,
                };
                let key = &body[write.key];
                if self.index.place(table, key) != Some(from) {
                    continue;
                }
                let to = format::add_write(record, table as u8, key, Some(&body[value]));
                if let Some(value) = to.value {
                    moves.push(Move { table, key: to.key, value, from });
                }
            }
        }
        Ok(Some(walk))
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not what was written")
}
