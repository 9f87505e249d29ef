//! The parts of a request, read: alike from a path, a query, a body of JSON, or a protobuf message.

use super::fault::Fault;
use cloudlysis_core::operator::Reason;
use cloudlysis_core::wire::id::{CommandId, Name, TenantId};
use cloudlysis_core::{Wall, ns_of_rfc3339};
use std::fmt::Display;
use std::time::Duration;

/// The last moment that nanoseconds since 1970 can say, in milliseconds.
const MOMENT_MS_MAX: u64 = u64::MAX / 1_000_000;

/// What parsing a field gave; what is wrong with it names the field.
pub(super) fn parsed<T, E: Display>(field: &str, parsed: Result<T, E>) -> Result<T, Fault> {
    parsed.map_err(|error| Fault::invalid(field, error))
}

/// A name of the application's.
pub(super) fn name(field: &str, text: &str) -> Result<Name, Fault> {
    parsed(field, Name::parse(text))
}

/// Whose; empty for the default tenant.
pub(super) fn tenant(text: &str) -> Result<TenantId, Fault> {
    parsed("tenant_id", TenantId::parse(text))
}

/// Why something is to be done.
pub(super) fn reason(text: &str) -> Result<Reason, Fault> {
    parsed("reason", Reason::parse(text))
}

/// What names a request, so that it may be repeated.
pub(super) fn idempotency_key(text: &str) -> Result<CommandId, Fault> {
    parsed("idempotency_key", CommandId::parse(text))
}

/// What names a request that fires something: without one, nobody who heard no answer could ask again.
pub(super) fn key_of_what_fires(text: Option<&str>) -> Result<CommandId, Fault> {
    match text {
        Some(text) => idempotency_key(text),
        None => {
            let detail = "it is missing; under a key that you may repeat, it fires once";
            Err(Fault::invalid("idempotency_key", detail))
        }
    }
}

/// A moment, as it is written.
pub(super) fn time(field: &str, text: &str) -> Result<Wall, Fault> {
    let read = ns_of_rfc3339(text).map(|ns| Wall::from_ms(ns / 1_000_000));
    let expected = "expected a time of RFC 3339, such as 2026-11-21T05:00:00Z";
    read.ok_or_else(|| Fault::invalid(field, expected))
}

/// A moment, in milliseconds since 1970: as many as can be written.
pub(super) fn moment(field: &str, ms: Option<u64>) -> Result<Wall, Fault> {
    let expected =
        || Fault::invalid(field, format!("expected at most {MOMENT_MS_MAX} milliseconds since 1970"));
    ms.filter(|ms| *ms <= MOMENT_MS_MAX).map(Wall::from_ms).ok_or_else(expected)
}

/// How long something may take: what is asked for, or what is usual.
pub(super) fn deadline(asked_ms: Option<u64>, usual: Duration, ms_max: u64) -> Result<Duration, Fault> {
    match asked_ms {
        None => Ok(usual),
        Some(asked) if asked <= ms_max => Ok(Duration::from_millis(asked)),
        Some(asked) => Err(Fault::invalid("deadline_ms", format!("{asked} is more than {ms_max}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_however_it_is_said() {
        let written = time("from", "2026-11-21T05:14:00.123Z").expect("a time");
        assert_eq!(moment("from", Some(1_795_238_040_123)), Ok(written));
        assert!(moment("from", Some(MOMENT_MS_MAX)).is_ok());
        assert!(moment("from", Some(MOMENT_MS_MAX + 1)).is_err() && moment("from", None).is_err());
        assert!(time("from", "yesterday").is_err());
    }

    #[test]
    fn a_deadline_has_a_limit() {
        let usual = Duration::from_secs(9);
        assert_eq!(deadline(None, usual, 5), Ok(usual));
        assert_eq!(deadline(Some(5), usual, 5), Ok(Duration::from_millis(5)));
        assert!(deadline(Some(6), usual, 5).is_err());
    }
}
