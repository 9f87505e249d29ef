//! Blocks: what is compressed at a time. Read as S2 writes them, written as Snappy does, which S2 reads.
//!
//! ```text
//!  length of the whole, a varint │ elements
//!    ......00  literal      the bytes that follow
//!    ......01  copy         4 to 11 bytes, up to 2 KiB back; S2 repeats the last distance where this one is 0
//!    ......10  copy         1 to 64 bytes, up to 64 KiB back
//!    ......11  copy         1 to 64 bytes, any distance
//! ```
//!
//! Our own, because no crate that is kept reads S2 without unsafe code, and writing takes little. Limits: a block that is
//! read has at most [`BYTES_MAX`] bytes, one that is written at most [`BYTES`].

/// How much is compressed at a time.
pub(super) const BYTES: usize = 64 << 10;
/// Most bytes of a block somebody else wrote, which is what S2 allows.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// Shortest copy that is worth it.
const COPY_BYTES_MIN: usize = 4;
const TABLE_BITS: u32 = 14;

/// Reads what a block is made of.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number of so many bytes, four at most, the lowest first.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let bytes = self.bytes(bytes)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

/// The block whole; `None` when it is none.
pub(super) fn decompress(block: &[u8]) -> Option<Vec<u8>> {
    let (len, rest) = super::varint(block).ok()??;
    let len = usize::try_from(len).ok().filter(|len| *len <= BYTES_MAX)?;
    let mut input = Input(rest);
    let mut out = Vec::with_capacity(len);
    let mut distance = 0;
    while let Some(&[tag]) = input.bytes(1) {
        let high = usize::from(tag >> 2);
        let count = match tag & 3 {
            0 => {
                let count = if high < 60 { high } else { input.number(high - 59)? };
                if count >= len - out.len() {
                    return None;
                }
                out.extend_from_slice(input.bytes(count + 1)?);
                continue;
            }
            1 => {
                let near = usize::from(tag >> 5) << 8 | input.number(1)?;
                let count = match (near, high & 7) {
                    (0, 5) => input.number(1)? + 4,
                    (0, 6) => input.number(2)? + (1 << 8),
                    (0, 7) => input.number(3)? + (1 << 16),
                    (_, count) => count,
                };
                if near > 0 {
                    distance = near;
                }
                count + COPY_BYTES_MIN
            }
            2 => {
                distance = input.number(2)?;
                high + 1
            }
            _ => {
                distance = input.number(4)?;
                high + 1
            }
        };
        if distance == 0 || distance > out.len() || count > len - out.len() {
            return None;
        }
        repeat(&mut out, distance, count);
    }
    (out.len() == len).then_some(out)
}

/// Appends so many bytes from so far back, which may be some of those it appends.
fn repeat(out: &mut Vec<u8>, distance: usize, mut count: usize) {
    let from = out.len() - distance;
    while count > 0 {
        let bytes = count.min(out.len() - from);
        out.extend_from_within(from..from + bytes);
        count -= bytes;
    }
}

/// Compresses [`BYTES`] at most.
pub(super) fn compress(bytes: &[u8]) -> Vec<u8> {
    debug_assert!(bytes.len() <= BYTES);
    let mut out = Vec::with_capacity(bytes.len() / 2);
    let mut len = bytes.len();
    while len > 0x7f {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    let mut seen = vec![0_u16; 1 << TABLE_BITS];
    // What is before `done` is written. A place that was never seen is the first one, which is as good as any.
    let (mut at, mut done) = (1, 0);
    while let Some(four) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        let hash = u32::from_le_bytes(*four).wrapping_mul(0x1e35_a7bd) >> (32 - TABLE_BITS);
        let before = usize::from(std::mem::replace(&mut seen[hash as usize], at as u16));
        if bytes[before..].first_chunk::<4>() != Some(four) {
            // The longer nothing repeats, the longer the steps.
            at += 1 + (at - done) / 32;
            continue;
        }
        literal(&mut out, &bytes[done..at]);
        let same = bytes[before + 4..].iter().zip(&bytes[at + 4..]).take_while(|(one, other)| one == other);
        let count = 4 + same.count();
        copy(&mut out, at - before, count);
        at += count;
        done = at;
    }
    literal(&mut out, &bytes[done..]);
    out
}

fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    let Some(count) = bytes.len().checked_sub(1) else { return };
    match count {
        0..60 => out.push((count as u8) << 2),
        60..256 => out.extend([60 << 2, count as u8]),
        _ => out.extend([61 << 2, count as u8, (count >> 8) as u8]),
    }
    out.extend_from_slice(bytes);
}

fn copy(out: &mut Vec<u8>, distance: usize, mut count: usize) {
    let [low, high, ..] = distance.to_le_bytes();
    while count > 0 {
        if (COPY_BYTES_MIN..12).contains(&count) && distance < 1 << 11 {
            out.extend([high << 5 | ((count - COPY_BYTES_MIN) as u8) << 2 | 1, low]);
            return;
        }
        let bytes = count.min(64);
        out.extend([((bytes - 1) as u8) << 2 | 2, low, high]);
        count -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_read_from_what_was_just_written() {
        // "ab" and eight bytes more from two back; then four more from there: S2's way to repeat a distance.
        let block = [14, 4, b'a', b'b', 0b10001 | 1, 2, 1, 0];
        assert_eq!(decompress(&block).as_deref(), Some(&b"ababababababab"[..]));
        let far = [8, 0, b'a', 6 << 2 | 3, 1, 0, 0, 0];
        assert_eq!(decompress(&far).as_deref(), Some(&b"aaaaaaaa"[..]));
    }

    #[test]
    fn long_repetitions_have_their_length_behind_them() {
        let long = |len: usize, more: &[u8]| {
            let mut block =
                vec![(len & 0x7f) as u8 | 0x80, (len >> 7 & 0x7f) as u8 | 0x80, (len >> 14) as u8];
            block.extend_from_slice(&[0, b'a', 1, 1]);
            block.extend_from_slice(more);
            decompress(&block)
        };
        assert_eq!(long(1 + 4 + 4 + 4 + 9, &[5 << 2 | 1, 0, 9]), Some(vec![b'a'; 22]));
        assert_eq!(long(1 + 4 + 4 + 256 + 9, &[6 << 2 | 1, 0, 9, 0]), Some(vec![b'a'; 274]));
        assert_eq!(long(1 + 4 + 4 + 65_536 + 9, &[7 << 2 | 1, 0, 9, 0, 0]), Some(vec![b'a'; 65_554]));
        assert_eq!(long(23, &[5 << 2 | 1, 0, 9]), None, "one short");
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for block in [
            &b""[..],
            b"\x05",
            b"\x01\x00",
            b"\x01\x00ab",
            b"\x02\x02\x00\x00",
            b"\x06\x00a\x01\x00\x00",
            b"\x05\x00a\x01\x02",
            b"\xff\xff\xff\xff\x0f\x00a",
            b"\x01\xfc\xff\xff\xff\xffa",
        ] {
            assert_eq!(decompress(block), None, "{block:?}");
        }
    }
}
