//! What the broker's answers mean, in one place for both edges.
//!
//! An adapter reports what it saw as a [`PublishAnswer`]; what that proves is decided here. The rule throughout: only
//! an answer that proves something is definite. A timeout after bytes left, a lost connection, a missing leader, and
//! "the same id is in process" prove nothing (INV-ANS-1).

use crate::jetstream::api::err_code;
use crate::outcome::Outcome;
use crate::quirks::{Quirk, Quirks};

/// What came back for one publish that asked for an acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishAnswer {
    /// The broker acknowledged.
    Acked {
        /// Where the message is stored.
        seq: u64,
        /// It was already there under the same message id.
        duplicate: bool,
    },
    /// The broker answered with an error.
    Error {
        /// Its number.
        err_code: u32,
        /// Its text.
        description: String,
    },
    /// Nobody subscribes to the subject: no stream, or no leader.
    NoResponders,
    /// No answer in time.
    TimedOut,
    /// The connection was lost before the answer.
    Disconnected,
}

/// A publish that was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Where.
    pub seq: u64,
    /// It was already there under the same message id.
    pub duplicate: bool,
}

/// A publish that was definitely not stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishRefused {
    /// The expected last sequence is not the actual one. After an attempt without an answer this may be our own
    /// message: look before deciding.
    Conflict,
    /// Larger than the broker or the stream allows: it will never be stored.
    TooLarge,
    /// No room now: wait and try again.
    Full,
    /// The broker is not set up as it must be: it will not be stored until somebody acts.
    Misconfigured {
        /// The broker's error number.
        err_code: u32,
        /// Its text.
        description: String,
    },
}

/// Decides what an answer proves.
#[must_use]
pub fn publish_outcome(answer: PublishAnswer, quirks: Quirks) -> Outcome<Published, PublishRefused> {
    match answer {
        PublishAnswer::Acked { seq, duplicate } => Outcome::Done(Published { seq, duplicate }),
        PublishAnswer::NoResponders | PublishAnswer::TimedOut | PublishAnswer::Disconnected => {
            if quirks.has(Quirk::AnswerTimeoutMeansRefused) {
                return Outcome::Refused(PublishRefused::TooLarge);
            }
            Outcome::Unknown
        }
        PublishAnswer::Error { err_code, description } => match err_code {
            err_code::WRONG_LAST_SEQUENCE | err_code::WRONG_LAST_SEQUENCE_IN_FLIGHT => {
                Outcome::Refused(PublishRefused::Conflict)
            }
            err_code::MESSAGE_EXCEEDS_MAXIMUM | err_code::HEADER_EXCEEDS_MAXIMUM => {
                Outcome::Refused(PublishRefused::TooLarge)
            }
            err_code::STREAM_STORE_FAILED
            | err_code::RESOURCES_EXCEEDED
            | err_code::INSUFFICIENT_RESOURCES
            | err_code::MEMORY_EXCEEDED
            | err_code::STORAGE_EXCEEDED => Outcome::Refused(PublishRefused::Full),
            err_code::STREAM_NOT_MATCH
            | err_code::STREAM_SEALED
            | err_code::NOT_ENABLED
            | err_code::NOT_ENABLED_FOR_ACCOUNT
            | err_code::WRONG_LAST_MSG_ID => {
                Outcome::Refused(PublishRefused::Misconfigured { err_code, description })
            }
            // In process, no leader, offline, and every number we do not know: it may still land.
            _ => Outcome::Unknown,
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::{Exam, examine, quirks};

    pub(crate) const EXAM: Exam = &[(Quirk::AnswerTimeoutMeansRefused, only_proof_is_definite)];

    #[test]
    fn every_fault_of_the_adapters_is_noticed() {
        examine(EXAM);
    }

    #[test]
    fn only_proof_is_definite() {
        let outcome = |answer| publish_outcome(answer, quirks());
        let error = |err_code| PublishAnswer::Error { err_code, description: String::new() };
        assert_eq!(
            outcome(PublishAnswer::Acked { seq: 7, duplicate: true }),
            Outcome::Done(Published { seq: 7, duplicate: true })
        );
        for unknown in [PublishAnswer::NoResponders, PublishAnswer::TimedOut, PublishAnswer::Disconnected] {
            assert_eq!(outcome(unknown), Outcome::Unknown);
        }
        for code in [10_158, 10_008, 10_009, 10_118, 10_119, 10_059, 99_999] {
            assert_eq!(outcome(error(code)), Outcome::Unknown, "{code}");
        }
        for code in [10_071, 10_164] {
            assert_eq!(outcome(error(code)), Outcome::Refused(PublishRefused::Conflict), "{code}");
        }
        for code in [10_077, 10_002, 10_023, 10_028, 10_047] {
            assert_eq!(outcome(error(code)), Outcome::Refused(PublishRefused::Full), "{code}");
        }
        for code in [10_054, 10_097] {
            assert_eq!(outcome(error(code)), Outcome::Refused(PublishRefused::TooLarge), "{code}");
        }
        assert!(matches!(outcome(error(10_039)), Outcome::Refused(PublishRefused::Misconfigured { .. })));
    }
}
