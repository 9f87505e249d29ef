//! What operators and machines say to each other, whatever it is about: reasons, and refusals.

use std::fmt;
use thiserror::Error;

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// Why an operator does something, in their own words: kept with its subject, and logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason(String);

/// A reason that is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a reason has from 1 to {REASON_BYTES_MAX} bytes and no control characters")]
pub struct ReasonError;

impl Reason {
    /// Reads a reason.
    ///
    /// # Errors
    /// When it says nothing, is too long, or has control characters.
    pub fn parse(text: &str) -> Result<Self, ReasonError> {
        let text = text.trim();
        let fits = (1..=REASON_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(ReasonError) }
    }

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something was not done; nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// There is no such subject.
    #[error("{what} does not exist")]
    NotFound {
        /// Which.
        what: String,
    },
    /// The subject has come to its end.
    #[error("{what} has finished: nothing of it can be changed")]
    Finished {
        /// Which.
        what: String,
    },
    /// The subject is not in a state for it.
    #[error("{detail}")]
    Conflict {
        /// What stands in its way, and what to do about that.
        detail: String,
    },
    /// What was asked for is wrong in itself.
    #[error("`{field}`: {detail}")]
    Invalid {
        /// Which part of it.
        field: &'static str,
        /// What is wrong with that.
        detail: String,
    },
    /// The node is stopping.
    #[error("the node is draining: ask again when it is back")]
    Draining,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something_and_fits_on_a_line() {
        assert_eq!(Reason::parse("  a bad deploy ").as_ref().map(Reason::as_str), Ok("a bad deploy"));
        for text in ["", "  ", "two\nlines", &"x".repeat(REASON_BYTES_MAX + 1)] {
            assert_eq!(Reason::parse(text), Err(ReasonError), "{text:?}");
        }
        assert!(Reason::parse(&"x".repeat(REASON_BYTES_MAX)).is_ok());
    }
}
