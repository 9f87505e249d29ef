//! Unique ids without randomness: the server's nuids, 22 letters and digits, and the names it hashes from them.
//!
//! The prefix tells two lives of a broker apart, the counter two ids of one life. Whoever gives a broker the same
//! incarnation and the same clock gets the same ids. Lost: the next life has another prefix.

use crate::time::Wall;
use sha2::{Digest, Sha256};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX_LEN: usize = 12;
const COUNTER_LEN: usize = 10;
/// How long a consumer's generated name is.
const NAME_LEN: usize = 8;
/// How long the last token of a flow control subject is.
const TOKEN_LEN: usize = 4;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Nuid {
    incarnation: u64,
    prefix: String,
    given: u64,
}

impl Nuid {
    pub(super) fn new(incarnation: u64) -> Self {
        Self { incarnation, prefix: String::new(), given: 0 }
    }

    /// The clock is known: what the ids of this life begin with is, too.
    pub(super) fn wake(&mut self, wall: Wall) {
        let mut hash = Sha256::new();
        hash.update(self.incarnation.to_be_bytes());
        hash.update(wall.as_ms().to_be_bytes());
        self.prefix = letters(hash, PREFIX_LEN);
    }

    /// Another id.
    pub(super) fn next(&mut self) -> String {
        self.given += 1;
        let mut counter = [0; COUNTER_LEN];
        let mut rest = self.given;
        for digit in counter.iter_mut().rev() {
            *digit = digit_of(rest);
            rest /= 62;
        }
        let mut id = self.prefix.clone();
        id.extend(counter.map(char::from));
        id
    }

    /// A name for a consumer that has none.
    pub(super) fn consumer_name(&mut self) -> String {
        letters(Sha256::new_with_prefix(self.next()), NAME_LEN)
    }

    /// The last token of a flow control subject.
    pub(super) fn token(&mut self) -> String {
        letters(Sha256::new_with_prefix(self.next()), TOKEN_LEN)
    }
}

fn digit_of(number: u64) -> u8 {
    DIGITS[usize::try_from(number % 62).expect("below 62")]
}

fn letters(hash: Sha256, count: usize) -> String {
    hash.finalize().iter().take(count).map(|byte| char::from(digit_of(u64::from(*byte)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_again_and_never_twice() {
        let life = |incarnation, wall| {
            let mut nuid = Nuid::new(incarnation);
            nuid.wake(Wall::from_ms(wall));
            let ids: Vec<String> = (0..100).map(|_| nuid.next()).collect();
            (ids, nuid.consumer_name(), nuid.token())
        };
        assert_eq!(life(1, 7), life(1, 7));
        let (ids, name, token) = life(1, 7);
        assert!(ids.iter().all(|id| id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((name.len(), token.len()), (8, 4));
        for other in [life(2, 7), life(1, 8)] {
            assert!(other.0.iter().all(|id| !ids.contains(id)));
            assert_ne!(other.1, name);
        }
    }
}
