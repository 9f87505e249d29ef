//! What tells one run of a server from all others, and one connection from all others.

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Letters of a server's id, the first one included.
const ID_LETTERS: usize = 56;
/// Letters of a nonce, as the real server has them.
const NONCE_LETTERS: usize = 15;

/// An id that looks like the real server's: `N` and 55 letters.
pub(super) fn server_id() -> String {
    std::iter::once('N').chain(letters()).take(ID_LETTERS).collect()
}

/// What a client may sign to say who it is.
pub(super) fn nonce() -> String {
    letters().take(NONCE_LETTERS).collect()
}

/// Letters nobody can guess, without end.
fn letters() -> impl Iterator<Item = char> {
    let bytes = std::iter::repeat_with(|| Uuid::new_v4().into_bytes()).flatten();
    bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
}

/// Where draws begin.
pub(super) fn seed() -> u64 {
    let (high, low) = Uuid::now_v7().as_u64_pair();
    high ^ low
}
