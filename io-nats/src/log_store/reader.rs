//! Reads a segment from one record to the next, each checked as a whole.

use super::format::{ALIGN, Position, RECORD_HEADER_BYTES, RecordHeader, Seal};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// What is read at once, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A record, at this position.
    Record(RecordHeader, Position),
    /// The end of the segment.
    End,
    /// Nothing but zeros up to there: room that was made and not used, or what should stand there is lost.
    Blank,
    /// Something else.
    Damaged,
}

/// Reads one segment.
#[derive(Debug)]
pub(super) struct RecordReader {
    file: BufReader<File>,
    seal: Seal,
    at: Position,
    end: u32,
    body: Vec<u8>,
}

impl RecordReader {
    /// From a position, where a record begins, to an end.
    pub(super) fn new(mut file: File, seal: Seal, at: Position, end: u32) -> io::Result<Self> {
        file.seek(SeekFrom::Start(u64::from(at.offset)))?;
        Ok(Self { file: BufReader::with_capacity(BUFFER_BYTES, file), seal, at, end, body: Vec::new() })
    }

    /// Where it stands: behind the last record, before what is damaged.
    pub(super) const fn at(&self) -> Position {
        self.at
    }

    /// The body of the last record.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn step(&mut self) -> io::Result<Step> {
        let left = self.end.saturating_sub(self.at.offset) as usize;
        if left == 0 {
            return Ok(Step::End);
        }
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let header_bytes = &mut bytes[..left.min(RECORD_HEADER_BYTES)];
        self.file.read_exact(header_bytes)?;
        let header = self.seal.parse(header_bytes, self.at);
        let Some(header) = header.filter(|header| header.record_bytes() <= left) else {
            let is_blank = bytes == [0; RECORD_HEADER_BYTES] && self.is_blank()?;
            return Ok(if is_blank { Step::Blank } else { Step::Damaged });
        };
        self.body.resize(header.record_bytes() - RECORD_HEADER_BYTES, 0);
        self.file.read_exact(&mut self.body)?;
        let padding = self.body.split_off(header.body_bytes as usize);
        debug_assert!(padding.len() < ALIGN);
        if padding.iter().any(|byte| *byte != 0) || crc32fast::hash(&self.body) != header.body_crc {
            return Ok(Step::Damaged);
        }
        let at = self.at;
        self.at.offset += header.record_bytes() as u32;
        Ok(Step::Record(header, at))
    }

    /// Whether nothing but zeros is left.
    fn is_blank(&mut self) -> io::Result<bool> {
        let mut left =
            self.end.saturating_sub(self.at.offset).saturating_sub(RECORD_HEADER_BYTES as u32) as usize;
        while left > 0 {
            let bytes = self.file.fill_buf()?;
            let bytes = &bytes[..bytes.len().min(left)];
            if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
                return Ok(bytes.is_empty());
            }
            let passed = bytes.len();
            self.file.consume(passed);
            left -= passed;
        }
        Ok(true)
    }
}
