//! What a client can do wrong: the exact words it is told, and whether its connection survives.
//!
//! Clients match these texts (without regard to case), so they are the real server's, letter by letter. Some
//! violations have no text: the real server just closes.

use thiserror::Error;

/// Something a client may not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Violation {
    /// A verb that does not exist, or a message that does not end where it said.
    #[error("unknown operation")]
    UnknownOperation,
    /// Arguments that cannot be read, or an error sent by the client.
    #[error("arguments that cannot be read")]
    Malformed,
    /// Headers from a client that did not say it uses them.
    #[error("headers without support for headers")]
    HeadersNotSupported,
    /// A control line longer than the limit.
    #[error("control line too long")]
    ControlLineExceeded,
    /// A message larger than the limit.
    #[error("payload too large")]
    PayloadExceeded,
    /// An operation before the client has said who it is, or a wrong answer to that question.
    #[error("not authorized")]
    Authorization,
}

impl Violation {
    /// The text between the quotes of `-ERR`; `None` where the real server says nothing.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation => Some("Unknown Protocol Operation"),
            Self::Malformed | Self::HeadersNotSupported => None,
            Self::ControlLineExceeded => Some("maximum control line exceeded"),
            Self::PayloadExceeded => Some("Maximum Payload Violation"),
            Self::Authorization => Some("Authorization Violation"),
        }
    }

    /// Whether the connection ends with it.
    #[must_use]
    pub const fn closes(self) -> bool {
        match self {
            Self::UnknownOperation
            | Self::Malformed
            | Self::HeadersNotSupported
            | Self::ControlLineExceeded
            | Self::PayloadExceeded
            | Self::Authorization => true,
        }
    }
}
