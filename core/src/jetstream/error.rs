//! The errors of the API, with the server's numbers and texts.

use super::api::{ApiError, err_code};

pub(super) fn error(code: u16, err_code: u32, description: impl Into<String>) -> ApiError {
    ApiError { code, err_code, description: description.into() }
}

pub(super) fn bad_request() -> ApiError {
    error(400, 10_003, "bad request")
}

pub(super) fn stream_not_found() -> ApiError {
    error(404, err_code::STREAM_NOT_FOUND, "stream not found")
}

pub(super) fn consumer_not_found() -> ApiError {
    error(404, err_code::CONSUMER_NOT_FOUND, "consumer not found")
}

pub(super) fn no_message_found() -> ApiError {
    error(404, err_code::NO_MESSAGE_FOUND, "no message found")
}

pub(super) fn sealed() -> ApiError {
    error(400, err_code::STREAM_SEALED, "invalid operation on sealed stream")
}

pub(super) fn stream_config(why: impl Into<String>) -> ApiError {
    error(500, err_code::STREAM_INVALID_CONFIG, why)
}

pub(super) fn not_pedantic(why: &str) -> ApiError {
    error(400, 10_157, format!("pedantic mode: {why}"))
}

pub(super) fn consumer_update(why: &str) -> ApiError {
    error(500, err_code::CONSUMER_CREATE, why)
}

pub(super) fn out_of_resources() -> ApiError {
    error(503, err_code::INSUFFICIENT_RESOURCES, "insufficient resources")
}

pub(super) fn store_failed(why: &str) -> ApiError {
    error(503, err_code::STREAM_STORE_FAILED, why)
}

pub(super) fn wrong_last_sequence(actual: u64) -> ApiError {
    error(400, err_code::WRONG_LAST_SEQUENCE, format!("wrong last sequence: {actual}"))
}
