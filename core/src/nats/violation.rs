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
    /// It did not say who it is in time.
    #[error("not authorized in time")]
    AuthenticationTimeout,
    /// Word of missing responders is asked for, but headers are not understood.
    #[error("no responders without headers")]
    NoRespondersNeedHeaders,
    /// There are as many connections as may be.
    #[error("too many connections")]
    ConnectionsExceeded,
    /// It left too many pings without answer.
    #[error("no sign of life")]
    StaleConnection,
    /// A subscription to what is not a subject.
    #[error("invalid subject")]
    InvalidSubject,
    /// A message to what is not a subject, from a pedantic client.
    #[error("invalid publish subject")]
    InvalidPublishSubject,
    /// There are as many subscriptions as may be.
    #[error("too many subscriptions")]
    SubscriptionsExceeded,
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
            Self::AuthenticationTimeout => Some("Authentication Timeout"),
            Self::NoRespondersNeedHeaders => Some("no responders requires headers support"),
            Self::ConnectionsExceeded => Some("maximum connections exceeded"),
            Self::StaleConnection => Some("Stale Connection"),
            Self::InvalidSubject => Some("Invalid Subject"),
            Self::InvalidPublishSubject => Some("Invalid Publish Subject"),
            Self::SubscriptionsExceeded => Some("maximum subscriptions exceeded"),
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
            | Self::Authorization
            | Self::AuthenticationTimeout
            | Self::NoRespondersNeedHeaders
            | Self::ConnectionsExceeded
            | Self::StaleConnection => true,
            Self::InvalidSubject | Self::InvalidPublishSubject | Self::SubscriptionsExceeded => false,
        }
    }
}
