//! What travels with every message across every hop: correlation, trace, causation.
//!
//! Extraction is tolerant: a missing or malformed correlation id is replaced by one derived from the message's
//! position, so that re-reading gives the same one; a malformed `traceparent` is dropped. Injection is complete: both
//! correlation headers, `traceparent` and the `trace-id` derived from it.

use super::headers::{self, Headers};
use super::id::derive_hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// Longest correlation or causation id, in bytes.
pub const CORRELATION_BYTES_MAX: usize = 128;
/// Longest `tracestate`, in bytes: what the W3C recommendation asks every hop to carry.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// Why a `traceparent` or trace id is not one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is not a W3C traceparent (`00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero)")]
pub struct TraceError(String);

/// A valid W3C `traceparent`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceParent(String);

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl TraceParent {
    /// Parses one.
    ///
    /// # Errors
    /// [`TraceError`] when the shape, the version or an all-zero id makes it invalid.
    pub fn parse(raw: &str) -> Result<Self, TraceError> {
        let error = || TraceError(raw.chars().take(80).collect());
        let mut parts = raw.split('-');
        let (Some(version), Some(trace), Some(span), Some(flags)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let well_formed = is_lower_hex(version, 2)
            && version != "ff"
            && is_lower_hex(trace, 32)
            && is_lower_hex(span, 16)
            && is_lower_hex(flags, 2)
            && trace.bytes().any(|b| b != b'0')
            && span.bytes().any(|b| b != b'0');
        // Version 00 has exactly four parts; later versions may append more, which we do not keep.
        let extra = parts.next().is_some();
        if !well_formed || (version == "00" && extra) {
            return Err(error());
        }
        Ok(Self(format!("{version}-{trace}-{span}-{flags}")))
    }

    /// A parent for a bare trace id; the span id is derived from it.
    ///
    /// # Errors
    /// [`TraceError`] when the trace id is not 32 lower-case hex digits or all zero.
    pub fn from_trace_id(trace_id: &str) -> Result<Self, TraceError> {
        let span = &derive_hex(&["span", trace_id])[..16];
        Self::parse(&format!("00-{trace_id}-{span}-01"))
    }

    /// The trace id inside.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The context of one message or request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Context {
    /// What belongs together; never empty.
    pub correlation_id: String,
    /// The trace, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// Vendor data of the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The command, event or message that directly caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
}

fn visible(raw: &str, bytes_max: usize) -> Option<String> {
    let legal = !raw.is_empty() && raw.len() <= bytes_max && raw.bytes().all(|b| (b' '..=b'~').contains(&b));
    legal.then(|| raw.to_owned())
}

impl Context {
    /// A context of its own for something that came without one; `position` makes it reproducible.
    #[must_use]
    pub fn generate(position: &str) -> Self {
        Self {
            correlation_id: format!("c-{}", derive_hex(&["correlation", position])),
            traceparent: None,
            tracestate: None,
            causation_id: None,
        }
    }

    /// Reads the context through a lookup by header name, whatever the transport. Never fails: see the module text.
    pub fn extract<'h>(get: impl Fn(&str) -> Option<&'h str>, position: &str) -> Self {
        let id = |name| get(name).and_then(|raw| visible(raw.trim(), CORRELATION_BYTES_MAX));
        let correlation_id = id(headers::X_CORRELATION_ID)
            .or_else(|| id(headers::CORRELATION_ID))
            .unwrap_or_else(|| Self::generate(position).correlation_id);
        let traceparent = get(headers::TRACEPARENT)
            .and_then(|raw| TraceParent::parse(raw.trim()).ok())
            .or_else(|| get(headers::TRACE_ID).and_then(|raw| TraceParent::from_trace_id(raw.trim()).ok()));
        let tracestate = traceparent
            .as_ref()
            .and(get(headers::TRACESTATE))
            .and_then(|raw| visible(raw.trim(), TRACESTATE_BYTES_MAX));
        Self { correlation_id, traceparent, tracestate, causation_id: id(headers::X_CAUSATION_ID) }
    }

    /// Adds everything it has, under every name it is known by.
    pub fn inject(&self, add: &mut impl FnMut(&'static str, &str)) {
        add(headers::X_CORRELATION_ID, &self.correlation_id);
        add(headers::CORRELATION_ID, &self.correlation_id);
        if let Some(parent) = &self.traceparent {
            add(headers::TRACEPARENT, parent.as_str());
            add(headers::TRACE_ID, parent.trace_id());
        }
        if let Some(state) = &self.tracestate {
            add(headers::TRACESTATE, state);
        }
        if let Some(cause) = &self.causation_id {
            add(headers::X_CAUSATION_ID, cause);
        }
    }

    /// The same context for something that this caused.
    #[must_use]
    pub fn caused_by(&self, cause: &str) -> Self {
        Self { causation_id: visible(cause, CORRELATION_BYTES_MAX), ..self.clone() }
    }

    /// Message headers of a tenant's message in this context.
    #[must_use]
    pub fn headers(&self, tenant: &super::id::TenantId) -> Headers {
        let mut out = Headers::default();
        out.append(headers::TENANT_ID, &tenant.token());
        self.inject(&mut |name, value| out.append(name, value));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::TenantId;
    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn invalid_traceparents_are_rejected() {
        assert_eq!(TraceParent::parse(PARENT).expect("valid").trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let upper = PARENT.to_uppercase();
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            &upper,
        ] {
            assert!(TraceParent::parse(bad).is_err(), "{bad}");
        }
        assert!(TraceParent::parse(&format!("01{}-future", &PARENT[2..])).is_ok());
    }

    #[test]
    fn a_traceparent_is_derived_from_a_trace_id() {
        let parent = TraceParent::from_trace_id("4bf92f3577b34da6a3ce929d0e0e4736").expect("valid");
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(TraceParent::from_trace_id("short").is_err());
    }

    #[test]
    fn headers_carry_everything_and_come_back() {
        let context = Context {
            correlation_id: "order 7".into(),
            traceparent: Some(TraceParent::parse(PARENT).expect("valid")),
            tracestate: Some("vendor=1".into()),
            causation_id: Some("cmd-1".into()),
        };
        let headers = context.headers(&TenantId::parse("acme").expect("tenant"));
        assert_eq!(headers.get(headers::TENANT_ID), Some("acme"));
        assert_eq!(headers.get(headers::CORRELATION_ID), Some("order 7"));
        assert_eq!(headers.get(headers::TRACE_ID), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(Context::extract(|name| headers.get(name), "s:1"), context);
        let tenantless = context.headers(&TenantId::default_tenant());
        assert_eq!(tenantless.get(headers::TENANT_ID), Some("_"));
    }

    #[test]
    fn a_missing_correlation_id_is_generated_from_the_position() {
        let first = Context::extract(|_| None, "AGGREGATE_EVENTS:7");
        assert_eq!(first, Context::extract(|_| None, "AGGREGATE_EVENTS:7"));
        assert_ne!(first, Context::extract(|_| None, "AGGREGATE_EVENTS:8"));
        let old = Context::extract(|name| (name == headers::CORRELATION_ID).then_some("c7"), "x");
        assert_eq!(old.correlation_id, "c7");
    }

    proptest! {
        #[test]
        fn extraction_never_fails_and_never_lets_a_line_break_through(raw in "\\PC{0,200}|[\r\n a-z]{0,20}") {
            let context = Context::extract(|_| Some(raw.as_str()), "p");
            prop_assert!(!context.correlation_id.is_empty());
            prop_assert!(!context.correlation_id.contains(['\r', '\n']));
            prop_assert!(context.correlation_id.len() <= CORRELATION_BYTES_MAX);
        }
    }
}
