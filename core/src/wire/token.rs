//! Escaping an arbitrary id into one token that is legal everywhere: as a subject token, inside a store key, and in a
//! consumer name.
//!
//! `[A-Za-z0-9_-]` stands for itself; every other byte becomes `=` and two upper-case hex digits. The empty id is `_`,
//! and an id that is exactly `_` becomes `=5F`. The mapping is injective and [`unescape`] is its inverse:
//! two ids never share a token (a property test says so).

use std::fmt::Write;

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Appends the token for `raw`.
pub fn escape_into(out: &mut String, raw: &str) {
    match raw {
        "" => out.push('_'),
        "_" => out.push_str("=5F"),
        _ => {
            for byte in raw.bytes() {
                if is_plain(byte) {
                    out.push(char::from(byte));
                } else {
                    write!(out, "={byte:02X}").expect("writing to a string");
                }
            }
        }
    }
}

/// The token for `raw`.
#[must_use]
pub fn escape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() + 8);
    escape_into(&mut out, raw);
    out
}

/// How long the token for `raw` is, in bytes.
#[must_use]
pub fn escaped_len(raw: &str) -> usize {
    match raw {
        "" => 1,
        "_" => 3,
        _ => raw.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum(),
    }
}

/// The id whose token this is; `None` if no id has this token.
#[must_use]
pub fn unescape(token: &str) -> Option<String> {
    match token {
        "" => return None,
        "_" => return Some(String::new()),
        _ => {}
    }
    let mut raw = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        if is_plain(byte) {
            raw.push(byte);
            continue;
        }
        if byte != b'=' {
            return None;
        }
        let decoded = hex(bytes.next()?)? << 4 | hex(bytes.next()?)?;
        // Only what must be escaped may be: otherwise two tokens would mean one id.
        if is_plain(decoded) && token != "=5F" {
            return None;
        }
        raw.push(decoded);
    }
    String::from_utf8(raw).ok()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples() {
        for (raw, token) in
            [("o-1", "o-1"), ("", "_"), ("_", "=5F"), ("a.b", "a=2Eb"), ("=", "=3D"), ("é", "=C3=A9")]
        {
            assert_eq!(escape(raw), token);
            assert_eq!(unescape(token).as_deref(), Some(raw));
        }
        for bad in ["", "=", "=4", "=41", "=2e", "a.b", "=FF", "=5F=5F"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_id_has_one_legal_token_and_comes_back(raw in ".{0,40}") {
            let token = escape(&raw);
            prop_assert!(!token.is_empty());
            prop_assert!(token.bytes().all(|byte| is_plain(byte) || byte == b'='));
            prop_assert_eq!(token.len(), escaped_len(&raw));
            prop_assert_eq!(unescape(&token), Some(raw));
        }

        #[test]
        fn two_ids_never_share_a_token(a in "[a_=.:5F]{0,6}", b in "[a_=.:5F]{0,6}") {
            prop_assert_eq!(a == b, escape(&a) == escape(&b));
        }

        #[test]
        fn a_token_means_at_most_one_id(token in "[a_=.5F2E0-9A-F]{0,8}") {
            if let Some(raw) = unescape(&token) {
                prop_assert_eq!(escape(&raw), token);
            }
        }
    }
}
