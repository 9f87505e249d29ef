//! The segment files: their names, their handles, and how much of each is still needed.
//!
//! Segments are numbered without holes, and only the oldest is ever removed (see [`reclaim`](super::reclaim)). The last
//! one is the tail; everything is appended there.

use super::bulk::Place;
use super::format::{self, Position, StoreId, WRITE_BYTES};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most files kept open for reading, besides the tail.
const HANDLES_MAX: usize = 64;
/// What room is made of.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// One file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Where it ends, in bytes.
    end: u32,
    live_rows: u64,
    live_bytes: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    /// The number of the first.
    first: u32,
    list: VecDeque<Segment>,
    tail: Option<Arc<File>>,
    /// How long its file is: beyond its end is room for what comes.
    tail_bytes: u32,
    /// The disk had no room to spare.
    is_room_refused: bool,
    handles: RefCell<VecDeque<(u32, Arc<File>)>>,
    bytes: u64,
    live_bytes: u64,
}

pub(super) fn path(directory: &Path, segment: u32) -> PathBuf {
    directory.join(format!("{segment:010}.log"))
}

/// The number in a segment's file name.
pub(super) fn parse_name(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".log").filter(|number| number.len() == 10)?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse().ok())?
}

/// What a row takes in the log, in bytes.
const fn row_bytes(key_bytes: usize, value_bytes: u32) -> u64 {
    (WRITE_BYTES + key_bytes) as u64 + value_bytes as u64
}

impl Segments {
    pub(super) fn new(directory: PathBuf, first: u32) -> Self {
        Self {
            directory,
            first,
            list: VecDeque::new(),
            tail: None,
            tail_bytes: 0,
            is_room_refused: false,
            handles: RefCell::default(),
            bytes: 0,
            live_bytes: 0,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    /// The number of the tail; one less than the first when there is none.
    pub(super) fn last(&self) -> u32 {
        self.first + self.list.len() as u32 - 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What all of them take on disk, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of the disk, room for what comes, in bytes.
    pub(super) fn room(&self) -> u64 {
        u64::from(self.tail_bytes.saturating_sub(self.end().offset))
    }

    /// What the live rows take, in bytes.
    pub(super) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> Position {
        Position { segment: self.last(), offset: self.list.back().map_or(0, |tail| tail.end) }
    }

    pub(super) fn end_of(&self, segment: u32) -> Option<u32> {
        self.get(segment).map(|segment| segment.end)
    }

    /// Whether no row in it is live.
    pub(super) fn is_dead(&self, segment: u32) -> bool {
        self.get(segment).is_some_and(|segment| segment.live_rows == 0)
    }

    fn get(&self, segment: u32) -> Option<&Segment> {
        self.list.get(segment.checked_sub(self.first)? as usize)
    }

    fn get_mut(&mut self, segment: u32) -> &mut Segment {
        let at = (segment - self.first) as usize;
        &mut self.list[at]
    }

    /// A segment that is there already.
    pub(super) fn push(&mut self, end: u32) {
        self.list.push_back(Segment { end, live_rows: 0, live_bytes: 0 });
        self.bytes += u64::from(end);
    }

    /// Goes on in the last segment.
    pub(super) fn open_tail(&mut self) -> io::Result<()> {
        let path = path(&self.directory, self.last());
        self.tail = Some(Arc::new(File::options().read(true).write(true).open(path)?));
        // Somebody who was killed may have left room.
        self.cut_back()
    }

    /// Lets the tail's file end where the log ends, whatever is behind.
    pub(super) fn cut_back(&mut self) -> io::Result<()> {
        let end = self.end().offset;
        self.tail().set_len(u64::from(end))?;
        self.tail_bytes = end;
        Ok(())
    }

    /// Gives back the room behind the end.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        if self.room() > 0 { self.cut_back() } else { Ok(()) }
    }

    /// Writes zeros behind the end when no room is left there. Without any, a write makes the file longer, as this does.
    pub(super) fn make_room(&mut self, ahead_bytes: u32) {
        if ahead_bytes == 0 || self.is_room_refused || self.room() > 0 {
            return;
        }
        let ahead_end = self.end().offset + ahead_bytes;
        while self.tail_bytes < ahead_end {
            let bytes = &ZEROS[..ZEROS.len().min((ahead_end - self.tail_bytes) as usize)];
            match self.tail().write_at(bytes, u64::from(self.tail_bytes)) {
                Ok(written) if written > 0 => self.tail_bytes += written as u32,
                refused => {
                    tracing::debug!(?refused, "no room is made ahead in this segment");
                    self.is_room_refused = true;
                    return;
                }
            }
        }
    }

    /// Makes the next segment the tail.
    pub(super) fn create(&mut self, store_id: StoreId, first: u32) -> io::Result<()> {
        if self.tail.is_some() {
            self.trim()?;
        }
        let end = self.end();
        let header = format::segment_header(store_id, end.segment + 1, first, end.offset);
        let path = path(&self.directory, end.segment + 1);
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all_at(&header, 0) {
            drop(file);
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        self.tail = Some(Arc::new(file));
        self.tail_bytes = format::short(header.len());
        self.is_room_refused = false;
        self.push(self.tail_bytes);
        Ok(())
    }

    pub(super) fn tail(&self) -> &Arc<File> {
        self.tail.as_ref().unwrap_or_else(|| unreachable!("an open store has a tail"))
    }

    /// Makes every write fail.
    #[cfg(test)]
    pub(super) fn replace_tail(&mut self, file: File) {
        self.tail = Some(Arc::new(file));
    }

    /// Makes no more room in the tail, as when the disk is full.
    #[cfg(test)]
    pub(super) fn refuse_room(&mut self) {
        self.is_room_refused = true;
    }

    /// The tail became longer.
    pub(super) fn grew(&mut self, bytes: u32) {
        if let Some(tail) = self.list.back_mut() {
            tail.end += bytes;
            self.tail_bytes = self.tail_bytes.max(tail.end);
            self.bytes += u64::from(bytes);
        }
    }

    /// A handle to read a segment with.
    pub(super) fn file(&self, segment: u32) -> io::Result<Arc<File>> {
        if segment == self.last() {
            return Ok(Arc::clone(self.tail()));
        }
        let mut handles = self.handles.borrow_mut();
        if let Some((_, file)) = handles.iter().rev().find(|(of, _)| *of == segment) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path(&self.directory, segment))?);
        handles.push_back((segment, Arc::clone(&file)));
        if handles.len() > HANDLES_MAX {
            handles.pop_front();
        }
        Ok(file)
    }

    /// Removes the oldest segment, of which nothing is needed.
    pub(super) fn remove_first(&mut self) -> io::Result<()> {
        std::fs::remove_file(path(&self.directory, self.first))?;
        let first = self.first;
        self.handles.borrow_mut().retain(|(segment, _)| *segment != first);
        if let Some(gone) = self.list.pop_front() {
            self.bytes -= u64::from(gone.end);
            self.first += 1;
        }
        Ok(())
    }

    /// A row is live in a segment.
    pub(super) fn row_came(&mut self, key_bytes: usize, place: Place) {
        let bytes = row_bytes(key_bytes, place.bytes);
        let segment = self.get_mut(place.segment);
        segment.live_rows += 1;
        segment.live_bytes += bytes;
        self.live_bytes += bytes;
    }

    /// It is not live there any more.
    pub(super) fn row_went(&mut self, key_bytes: usize, place: Place) {
        let bytes = row_bytes(key_bytes, place.bytes);
        let segment = self.get_mut(place.segment);
        segment.live_rows -= 1;
        segment.live_bytes -= bytes;
        self.live_bytes -= bytes;
    }
}
