//! What can come back from the outside, and the fencing token that says which attempt it answers.

/// The end of one attempt of one effect. There is no fourth case, and no code may treat
/// [`Unknown`](Outcome::Unknown) as [`Refused`](Outcome::Refused).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<T, R> {
    /// It happened, and this is the proof.
    Done(T),
    /// It definitely did not happen, and this is why.
    Refused(R),
    /// It may have happened: bytes left this process and no conclusive answer came back.
    Unknown,
}

impl<T, R> Outcome<T, R> {
    /// Maps the proof, keeping the other two cases.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U, R> {
        match self {
            Self::Done(done) => Outcome::Done(f(done)),
            Self::Refused(why) => Outcome::Refused(why),
            Self::Unknown => Outcome::Unknown,
        }
    }
}

/// Names one attempt of one effect. A completion whose token is not the live one is counted, marked and dropped.
///
/// Not an idempotency key: that names the *intent* and survives attempts and restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token {
    /// Which life of the machine issued it; grows by one at every recovery.
    pub incarnation: u64,
    /// Position within that life, per machine.
    pub seq: u64,
}

/// Issues the tokens of one machine. Lost on purpose at a crash: the incarnation fences what was in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokens {
    incarnation: u64,
    seq: u64,
}

impl Tokens {
    /// Tokens of the given life.
    #[must_use]
    pub const fn new(incarnation: u64) -> Self {
        Self { incarnation, seq: 0 }
    }

    /// The token that was issued last.
    pub(crate) const fn last(&self) -> Token {
        Token { incarnation: self.incarnation, seq: self.seq }
    }

    /// A token never issued before by any life of this machine.
    pub fn issue(&mut self) -> Token {
        self.seq += 1;
        Token { incarnation: self.incarnation, seq: self.seq }
    }
}
