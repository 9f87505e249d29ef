//! Whatever arrives under whatever subject is read or refused, and never panics; what is read survives writing.
//!
//! ```sh
//! cd fuzz && cargo +nightly fuzz run envelopes seeds/envelopes
//! ```

#![no_main]

use cloudlysis_core::wire::envelope::{EffectCommand, EffectResult, EventMessage};
use cloudlysis_core::wire::headers::Headers;
use cloudlysis_core::wire::subject::Route;
use libfuzzer_sys::fuzz_target;

/// A subject, a header block and a body, separated by the first two NUL bytes.
fn parts(input: &[u8]) -> Option<(&str, &str, &[u8])> {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let subject = std::str::from_utf8(parts.next()?).ok()?;
    let headers = std::str::from_utf8(parts.next()?).ok()?;
    Some((subject, headers, parts.next()?))
}

fuzz_target!(|input: &[u8]| {
    let Some((subject, headers, body)) = parts(input) else { return };
    let headers = Headers::decode(headers).unwrap_or_default();
    if let Some(route) = Route::parse(subject) {
        assert_eq!(route.subject().as_str(), subject, "INV-WIR-1");
    }
    let _ = EffectCommand::decode(subject, &headers, body, "fuzz:1");
    let _ = EffectResult::decode(subject, &headers, body, "fuzz:1");
    if let Ok(message) = EventMessage::decode(subject, &headers, body, "fuzz:1") {
        let again = EventMessage::decode(subject, &headers, &message.encode(), "fuzz:1");
        assert_eq!(again.as_ref(), Ok(&message), "what was read is written and read alike");
    }
});
