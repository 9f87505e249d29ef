//! Public keys of users as NATS writes them, and whether a signature is theirs.
//!
//! ```text
//!  base32( prefix 'U' │ 32 bytes of an Ed25519 key │ crc16 of both, little endian )  =  56 letters
//! ```
//!
//! A client proves that it has the key by signing the nonce of its `INFO`; the signature comes in base64url.
//!
//! Never: private keys, other kinds of keys (accounts, operators, servers).

use ed25519_dalek::{Signature, VerifyingKey};
use thiserror::Error;

/// Letters of a key.
const TEXT_LEN: usize = 56;
/// Bytes of a key: what kind it is, the key, a checksum.
const RAW_LEN: usize = 1 + KEY_LEN + 2;
const KEY_LEN: usize = 32;
/// What the first byte of a user's key is; it becomes the letter `U`.
const USER: u8 = 20 << 3;

/// What a text is that is not a user's public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not the public key of a user")]
pub struct NotAKey;

/// A user's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`NotAKey`] if a letter is wrong, or the key is not a user's.
    pub fn decode(text: &str) -> Result<Self, NotAKey> {
        let raw = base32(text.as_bytes()).ok_or(NotAKey)?;
        let (checked, checksum) = raw.split_at(RAW_LEN - 2);
        if checked[0] != USER || crc16(checked).to_le_bytes() != *checksum {
            return Err(NotAKey);
        }
        let key = checked[1..].try_into().map_err(|_| NotAKey)?;
        VerifyingKey::from_bytes(&key).map(|_| Self(key)).map_err(|_| NotAKey)
    }

    /// Whether `signature`, in base64url, with or without padding, is this key's below `nonce`.
    #[must_use]
    pub fn has_signed(&self, nonce: &str, signature: &str) -> bool {
        let Some(signature) = base64(signature.trim_end_matches('=').as_bytes()) else { return false };
        let Ok(signature) = Signature::from_slice(&signature) else { return false };
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(nonce.as_bytes(), &signature).is_ok())
    }
}

fn base32(text: &[u8]) -> Option<[u8; RAW_LEN]> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut raw = [0; RAW_LEN];
    for (letters, bytes) in text.chunks(8).zip(raw.chunks_mut(5)) {
        let mut bits = 0_u64;
        for letter in letters {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'2'..=b'7' => letter - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(raw)
}

/// Bytes of a signature in base64url; the other alphabet is understood too, as by the real server.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() != Signature::BYTE_SIZE.div_ceil(3) * 4 - 2 {
        return None;
    }
    let (mut out, mut bits, mut held) = (Vec::with_capacity(Signature::BYTE_SIZE), 0_u32, 0_u32);
    for letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    Some(out)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let carried = crc & 0x8000 != 0;
            if carried { crc << 1 ^ 0x1021 } else { crc << 1 }
        })
    })
}
