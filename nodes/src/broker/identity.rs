//! What tells one run of a server from all others.

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Letters of a server's id, the first one included.
const ID_LETTERS: usize = 56;

/// Letters of a nonce, as the real server's.
const NONCE_LETTERS: usize = 15;

/// An id that looks like the real server's: `N` and 55 letters.
pub(super) fn server_id() -> String {
    let bytes: Vec<u8> = (0..4).flat_map(|_| Uuid::now_v7().into_bytes()).collect();
    let letters = bytes.iter().rev().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    std::iter::once('N').chain(letters).take(ID_LETTERS).collect()
}

/// What a client may sign to say who it is: never the same twice.
pub(super) fn nonce() -> String {
    let bytes = Uuid::now_v7().into_bytes();
    let letters = bytes.iter().rev().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    letters.take(NONCE_LETTERS).collect()
}

/// Where draws begin.
pub(super) fn seed() -> u64 {
    let (high, low) = Uuid::now_v7().as_u64_pair();
    high ^ low
}
