//! NATS message headers: the names we use and an ordered list that keeps what was sent.
//!
//! Names are compared exactly, as the server does (`nats-msg-id` is not `Nats-Msg-Id`).

use std::fmt::Write;

/// Whose message it is.
pub const TENANT_ID: &str = "tenant-id";
/// What belongs together across hops.
pub const X_CORRELATION_ID: &str = "x-correlation-id";
/// The same, under the name older producers use.
pub const CORRELATION_ID: &str = "correlation-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendor part.
pub const TRACESTATE: &str = "tracestate";
/// The trace id alone, derived from `traceparent`.
pub const TRACE_ID: &str = "trace-id";
/// What directly caused this message.
pub const X_CAUSATION_ID: &str = "x-causation-id";
/// The broker's deduplication id.
pub const NATS_MSG_ID: &str = "Nats-Msg-Id";
/// The broker stores the message only if this is the last sequence on its subject.
pub const NATS_EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// The broker stores the message only if this is the stream's last sequence.
pub const NATS_EXPECTED_LAST_SEQUENCE: &str = "Nats-Expected-Last-Sequence";
/// The broker stores the message only in this stream.
pub const NATS_EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// The broker stores the message only if this is the id of the stream's last message.
pub const NATS_EXPECTED_LAST_MSG_ID: &str = "Nats-Expected-Last-Msg-Id";

/// Headers in the order in which they were added. A name may occur more than once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Adds one. Line breaks in a value would end the header: they are replaced by spaces.
    pub fn append(&mut self, name: &str, value: &str) {
        debug_assert!(Self::is_name(name), "header name {name:?}");
        let value =
            if value.contains(['\r', '\n']) { value.replace(['\r', '\n'], " ") } else { value.to_owned() };
        self.0.push((name.to_owned(), value));
    }

    /// Whether a header may be called so.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && !name.contains([':', '\r', '\n', ' '])
    }

    /// The first value under this exact name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the block on the wire; nothing at all when there are none.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        "NATS/1.0\r\n\r\n".len()
            + self.0.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
    }

    /// The block as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(self.encoded_len());
        if !self.0.is_empty() {
            out.push_str("NATS/1.0\r\n");
            for (name, value) in &self.0 {
                write!(out, "{name}: {value}\r\n").expect("writing to a string");
            }
            out.push_str("\r\n");
        }
        out
    }
}

impl Headers {
    /// Reads a header block as it came over the wire; `None` when it is not one. An inline status is skipped.
    #[must_use]
    pub fn decode(block: &str) -> Option<Self> {
        let mut lines = block.strip_prefix("NATS/1.0")?.split("\r\n");
        lines.next()?;
        let mut out = Self::default();
        for line in lines {
            if line.is_empty() {
                return Some(out);
            }
            let (name, value) = line.split_once(':')?;
            if name.is_empty() || name.contains(' ') {
                return None;
            }
            out.0.push((name.to_owned(), value.trim().to_owned()));
        }
        None
    }
}

impl<'h> FromIterator<(&'h str, &'h str)> for Headers {
    fn from_iter<T: IntoIterator<Item = (&'h str, &'h str)>>(headers: T) -> Self {
        let mut out = Self::default();
        for (name, value) in headers {
            out.append(name, value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_and_its_length_agree() {
        let headers: Headers = [("a", "1"), ("b", "x\r\ny"), ("a", "2")].into_iter().collect();
        assert_eq!(headers.encode(), "NATS/1.0\r\na: 1\r\nb: x  y\r\na: 2\r\n\r\n");
        assert_eq!(headers.encode().len(), headers.encoded_len());
        assert_eq!(Headers::default().encoded_len(), 0);
        assert_eq!(headers.get("a"), Some("1"));
        assert_eq!(headers.get("A"), None);
        assert_eq!(Headers::decode(&headers.encode()), Some(headers));
        assert_eq!(Headers::decode("NATS/1.0 503 No Responders\r\n\r\n"), Some(Headers::default()));
        for bad in ["", "HTTP/1.1\r\n\r\n", "NATS/1.0\r\na: 1", "NATS/1.0\r\nno colon\r\n\r\n"] {
            assert_eq!(Headers::decode(bad), None, "{bad:?}");
        }
    }
}
