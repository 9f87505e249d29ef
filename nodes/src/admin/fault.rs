//! Why something an operator asked for was not done, and how each protocol says so.
//!
//! | kind | HTTP | gRPC | asking again |
//! |---|---|---|---|
//! | [`Kind::Invalid`] | 400 | `INVALID_ARGUMENT` | the same answer |
//! | [`Kind::TooLarge`] | 413 | `INVALID_ARGUMENT` | the same answer |
//! | [`Kind::Unauthenticated`] | 401 | `UNAUTHENTICATED` | the same answer |
//! | [`Kind::NotFound`] | 404 | `NOT_FOUND` | the same answer |
//! | [`Kind::NotServed`] | 404 | `UNIMPLEMENTED` | the same answer |
//! | [`Kind::Refused`] | 409 | `FAILED_PRECONDITION` | once what stands in the way is gone |
//! | [`Kind::Unusable`] | 422 | `FAILED_PRECONDITION` | once it is mended |
//! | [`Kind::BrokerRefused`] | 502 | `INTERNAL` | once the broker is configured |
//! | [`Kind::Failed`] | 503 | `INTERNAL` | once somebody has read the log |
//! | [`Kind::Unavailable`] | 503 | `UNAVAILABLE` | in a second: nothing was done |
//! | [`Kind::Unknown`] | 504 | `DEADLINE_EXCEEDED` | in a second, under the same key: it may have been done |
//!
//! A fault has a code, which is stable and for machines, and a detail, which is for people and names the field that is wrong.
//! Over HTTP they are an RFC 9457 problem; over gRPC the detail is the status's message, and the code is in its metadata
//! under [`CODE_METADATA`].

use super::operator::NotDone;
use crate::problem::Problem;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloudlysis_core::operator::Refusal;
use std::fmt::Display;
use thiserror::Error;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Where a gRPC status has the code.
pub const CODE_METADATA: &str = "problem-code";
/// When asking again may help, in milliseconds.
const AGAIN_AFTER_MS: u64 = 1_000;

/// What kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The request is wrong in itself.
    Invalid,
    /// The request is larger than is allowed.
    TooLarge,
    /// The caller has not shown the token of the node.
    Unauthenticated,
    /// Nobody may ask from where this came.
    Forbidden,
    /// There is no such subject.
    NotFound,
    /// This node does not do that, whatever it is asked about.
    NotServed,
    /// The subject, or the node, is not in a state for it.
    Refused,
    /// What the node was told to use cannot be used.
    Unusable,
    /// The broker said no, for good.
    BrokerRefused,
    /// It went wrong.
    Failed,
    /// It cannot be done at present; nothing was.
    Unavailable,
    /// Nobody knows whether it was done.
    Unknown,
}

impl Kind {
    const fn http(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotServed => StatusCode::NOT_FOUND,
            Self::Refused => StatusCode::CONFLICT,
            Self::Unusable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BrokerRefused => StatusCode::BAD_GATEWAY,
            Self::Failed | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn grpc(self) -> Code {
        match self {
            Self::Invalid | Self::TooLarge => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::NotServed => Code::Unimplemented,
            Self::Refused | Self::Unusable => Code::FailedPrecondition,
            Self::BrokerRefused | Self::Failed => Code::Internal,
            Self::Unavailable => Code::Unavailable,
            Self::Unknown => Code::DeadlineExceeded,
        }
    }

    const fn may_be_repeated(self) -> bool {
        match self {
            Self::Unavailable | Self::Unknown => true,
            Self::Invalid
            | Self::TooLarge
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::NotServed
            | Self::Refused
            | Self::Unusable
            | Self::BrokerRefused
            | Self::Failed => false,
        }
    }
}

/// Something was not done, or is not known to be.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{detail}")]
pub struct Fault {
    kind: Kind,
    code: String,
    detail: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), detail: detail.into() }
    }

    /// A part of the request is wrong.
    pub(super) fn invalid(field: &str, detail: impl Display) -> Self {
        Self::new(Kind::Invalid, format!("invalid_{field}"), format!("`{field}`: {detail}"))
    }

    /// A part of the request is too large.
    pub(super) fn too_large(field: &str, bytes: usize, bytes_max: usize) -> Self {
        let detail = format!("`{field}` has {bytes} bytes; at most {bytes_max} are allowed");
        Self::new(Kind::TooLarge, format!("{field}_too_large"), detail)
    }

    /// Committed rows cannot be read at present.
    pub(super) fn unreadable(detail: impl Display) -> Self {
        Self::new(Kind::Unavailable, "store_unreadable", detail.to_string())
    }

    /// Nobody knows whether it was done.
    pub(super) fn unknown(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unknown, "outcome_unknown", detail)
    }

    /// As a gRPC response of its own, for what stands in front of services.
    pub(crate) fn into_grpc(self) -> Response {
        Status::from(self).into_http()
    }
}

impl From<NotDone> for Fault {
    fn from(why: NotDone) -> Self {
        let refusal = match why {
            NotDone::Refused(refusal) => refusal,
            NotDone::Busy => {
                let detail = "the node takes no requests at present";
                return Self::new(Kind::Unavailable, "node_busy", detail);
            }
            NotDone::Unknown => {
                return Self::unknown("nobody knows whether it is done; asking again is harmless");
            }
        };
        let (kind, code) = match &refusal {
            Refusal::Invalid { field, .. } => (Kind::Invalid, format!("invalid_{field}")),
            Refusal::NotFound { .. } => (Kind::NotFound, "not_found".to_owned()),
            Refusal::Finished { .. } => (Kind::Refused, "already_finished".to_owned()),
            Refusal::Conflict { .. } => (Kind::Refused, "conflict".to_owned()),
            Refusal::Draining => (Kind::Unavailable, "node_draining".to_owned()),
        };
        Self::new(kind, code, refusal.to_string())
    }
}

impl From<Fault> for Problem {
    fn from(Fault { kind, code, detail }: Fault) -> Self {
        let problem = Self::new(kind.http(), &code, detail);
        if kind.may_be_repeated() { problem.retryable(AGAIN_AFTER_MS) } else { problem }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl From<Fault> for Status {
    fn from(Fault { kind, code, detail }: Fault) -> Self {
        let mut status = Self::new(kind.grpc(), detail);
        // A code is a word of ours, perhaps with the name of a field: it always fits.
        if let Ok(code) = MetadataValue::try_from(code) {
            status.metadata_mut().insert(CODE_METADATA, code);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(fault: Fault) -> (u16, Code, String) {
        let status = Status::from(fault.clone());
        let code =
            status.metadata().get(CODE_METADATA).and_then(|code| code.to_str().ok()).map(str::to_owned);
        (fault.into_response().status().as_u16(), status.code(), code.expect("a code"))
    }

    #[test]
    fn what_a_machine_refuses_is_told_alike_by_both_protocols() {
        let detail = || "no".to_owned();
        let told = [
            (
                Refusal::Invalid { field: "from", detail: detail() },
                400,
                Code::InvalidArgument,
                "invalid_from",
            ),
            (Refusal::NotFound { what: detail() }, 404, Code::NotFound, "not_found"),
            (Refusal::Finished { what: detail() }, 409, Code::FailedPrecondition, "already_finished"),
            (Refusal::Conflict { detail: detail() }, 409, Code::FailedPrecondition, "conflict"),
            (Refusal::Draining, 503, Code::Unavailable, "node_draining"),
        ];
        for (refusal, http, grpc, code) in told {
            assert_eq!(both(NotDone::Refused(refusal).into()), (http, grpc, code.to_owned()));
        }
        assert_eq!(both(NotDone::Busy.into()), (503, Code::Unavailable, "node_busy".to_owned()));
        assert_eq!(
            both(NotDone::Unknown.into()),
            (504, Code::DeadlineExceeded, "outcome_unknown".to_owned())
        );
    }

    #[test]
    fn a_wrong_field_is_named() {
        let fault = Fault::invalid("reason", "it says nothing");
        assert_eq!(Status::from(fault.clone()).message(), "`reason`: it says nothing");
        assert_eq!(both(fault), (400, Code::InvalidArgument, "invalid_reason".to_owned()));
    }
}
