//! Frames: how blocks follow each other, with a checksum each.
//!
//! ```text
//!  kind │ length, three bytes │ content
//!    ff     begins a stream: S2sTwO, or sNaPpY
//!    00     checksum, a compressed block
//!    01     checksum, a block as it is
//!    80…fe  passed over
//! ```
//!
//! Limits: a frame is held until it is whole, of [`FRAME_BYTES_MAX`] bytes at most.

use super::block;
use super::checksum::masked;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

const S2: &[u8] = b"S2sTwO";
const SNAPPY: &[u8] = b"sNaPpY";
const BEGIN: u8 = 0xff;
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
const PREFIX_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// Longest content: a block that does not compress grows by less than a sixth.
const FRAME_BYTES_MAX: usize = block::BYTES_MAX / 6 * 7;

/// Why an archive cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(in crate::jetstream) enum Torn {
    /// Not frames, or a checksum is wrong.
    #[error("s2: corrupt input")]
    Corrupt,
    /// Frames of something else: older servers archive streams as tar files.
    #[error("not an archive of a stream: it does not begin with NATSARC1")]
    OtherKind,
    /// No entries, or the last one is not whole.
    #[error("archive: invalid archive stream")]
    Invalid,
    /// Ends before it says so.
    #[error("EOF")]
    TooShort,
}

/// Reads frames.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Unpacking {
    input: BytesMut,
    begun: bool,
}

impl Unpacking {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next block, whole; `None` until more is pushed.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Torn> {
        while let Some(&[kind, low, middle, high]) = self.input.first_chunk::<PREFIX_BYTES>() {
            let len = u32::from_le_bytes([low, middle, high, 0]) as usize;
            if len > FRAME_BYTES_MAX || (!self.begun && (kind, len) != (BEGIN, S2.len())) {
                return Err(Torn::Corrupt);
            }
            let Some(content) = self.input.get(PREFIX_BYTES..PREFIX_BYTES + len) else { return Ok(None) };
            let block = match kind {
                BEGIN if content == S2 || content == SNAPPY => {
                    self.begun = true;
                    None
                }
                COMPRESSED | PLAIN => Some(open(kind, content).ok_or(Torn::Corrupt)?),
                0x80..BEGIN => None,
                _ => return Err(Torn::Corrupt),
            };
            self.input.advance(PREFIX_BYTES + len);
            if block.is_some() {
                return Ok(block);
            }
        }
        Ok(None)
    }

    /// Whether nothing is left of a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.input.is_empty()
    }
}

fn open(kind: u8, content: &[u8]) -> Option<Vec<u8>> {
    let (checksum, content) = content.split_first_chunk::<CHECKSUM_BYTES>()?;
    let block = if kind == COMPRESSED { block::decompress(content)? } else { content.to_vec() };
    (block.len() <= block::BYTES_MAX && masked(&block) == u32::from_le_bytes(*checksum)).then_some(block)
}

/// Writes frames.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Packing {
    /// Less than a block.
    raw: Vec<u8>,
    out: BytesMut,
}

impl Default for Packing {
    fn default() -> Self {
        let mut packing = Self { raw: Vec::new(), out: BytesMut::new() };
        packing.frame(BEGIN, &[S2]);
        packing
    }
}

impl Packing {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while self.raw.len() + bytes.len() >= block::BYTES {
            let (now, later) = bytes.split_at(block::BYTES - self.raw.len());
            self.raw.extend_from_slice(now);
            self.finish();
            bytes = later;
        }
        self.raw.extend_from_slice(bytes);
    }

    /// Makes a frame of what there is.
    pub(super) fn finish(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        if raw.is_empty() {
            return;
        }
        let checksum = masked(&raw).to_le_bytes();
        let compressed = block::compress(&raw);
        if compressed.len() < raw.len() {
            self.frame(COMPRESSED, &[&checksum, &compressed]);
        } else {
            self.frame(PLAIN, &[&checksum, &raw]);
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.out.len()
    }

    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        self.out.split_to(bytes).freeze()
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).expect("a block is small");
        self.out.put_u32_le(len << 8 | u32::from(kind));
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
    }
}
