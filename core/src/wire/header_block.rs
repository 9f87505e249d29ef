//! A header block as it went over the wire: kept, stored and delivered byte for byte.
//!
//! Nothing is parsed until somebody asks for a name; then the block is searched as the server searches it: a name is
//! what stands between a line break and a colon, compared exactly, its value what follows up to the line break, without
//! leading spaces. Values need not be text, and a block need not be well formed.

use super::headers::Headers;
use bytes::Bytes;
use std::fmt;

const VERSION: &[u8] = b"NATS/1.0";
const BREAK: &[u8] = b"\r\n";

/// The headers of a message, from `NATS/1.0` to the empty line, or nothing at all.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HeaderBlock(Bytes);

impl HeaderBlock {
    /// No headers.
    pub const NONE: Self = Self(Bytes::new());

    /// A block as it was received.
    #[must_use]
    pub const fn from_wire(block: Bytes) -> Self {
        Self(block)
    }

    /// As it goes over the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first value under this exact name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        find(&self.0, name).map(|(_, value)| value)
    }

    /// The first value under this exact name, if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        text_in(&self.0, name)
    }

    /// Adds one at the end: see [`append_all`](Self::append_all).
    pub fn append(&mut self, name: &str, value: &str) {
        self.append_all(&[(name, value)]);
    }

    /// Adds some at the end. Line breaks in a value would end the header: they are replaced by spaces. A block that has no
    /// end is no block: it is replaced.
    pub fn append_all(&mut self, added: &[(&str, &str)]) {
        let kept = self.0.strip_suffix(BREAK).filter(|kept| kept.ends_with(BREAK)).unwrap_or_default();
        let bytes: usize = added.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut block = Vec::with_capacity(kept.len() + bytes + 16);
        block.extend_from_slice(kept);
        if block.is_empty() {
            block.extend_from_slice(VERSION);
            block.extend_from_slice(BREAK);
        }
        for (name, value) in added {
            block.extend_from_slice(name.as_bytes());
            block.extend_from_slice(b": ");
            block.extend(value.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
            block.extend_from_slice(BREAK);
        }
        block.extend_from_slice(BREAK);
        self.0 = block.into();
    }

    /// Removes the first line under this exact name; a block without any line left is none at all.
    pub fn remove(&mut self, name: &str) {
        let Some((line, _)) = find(&self.0, name) else { return };
        let rest = [&self.0[..line.start], &self.0[line.end..]].concat();
        let is_bare = rest.len() <= VERSION.len() + 2 * BREAK.len();
        self.0 = if is_bare { Bytes::new() } else { rest.into() };
    }

    /// Removes every line whose name begins so.
    pub fn remove_prefixed(&mut self, prefix: &str) {
        let names = self.iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix.as_bytes()));
        let names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// Every name and value, without its leading spaces, in order, as far as they are well formed.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.0.as_ref();
        split_line(&mut rest);
        std::iter::from_fn(move || {
            let line = split_line(&mut rest).filter(|line| !line.is_empty())?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            let value = &line[colon + 1..];
            let spaces = value.iter().take_while(|byte| **byte == b' ').count();
            Some((&line[..colon], &value[spaces..]))
        })
    }

    /// As an ordered list of text, which is not always what was sent.
    #[must_use]
    pub fn to_headers(&self) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in self.iter() {
            if let Ok(name) = std::str::from_utf8(name)
                && Headers::is_name(name)
            {
                headers.append(name, String::from_utf8_lossy(value).trim());
            }
        }
        headers
    }
}

/// The first value under this exact name in a block that somebody else holds, if it is text.
pub(crate) fn text_in<'b>(block: &'b [u8], name: &str) -> Option<&'b str> {
    find(block, name).and_then(|(_, value)| std::str::from_utf8(value).ok())
}

/// The line up to the next break, without it.
fn split_line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.windows(2).position(|pair| pair == BREAK)?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Some(line)
}

/// Where the first line under a name is, its break included, and the value.
fn find<'b>(block: &'b [u8], name: &str) -> Option<(std::ops::Range<usize>, &'b [u8])> {
    let mut line = 0;
    while let Some(end) = block[line..].windows(2).position(|pair| pair == BREAK) {
        let (text, next) = (&block[line..line + end], line + end + 2);
        if line > 0
            && let Some(value) = text.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"))
        {
            let spaces = value.iter().take_while(|byte| **byte == b' ').count();
            return Some((line..next, &value[spaces..]));
        }
        line = next;
    }
    None
}

impl From<&Headers> for HeaderBlock {
    fn from(headers: &Headers) -> Self {
        Self(headers.encode().into())
    }
}

impl From<Headers> for HeaderBlock {
    fn from(headers: Headers) -> Self {
        Self::from(&headers)
    }
}

impl<'h> FromIterator<(&'h str, &'h str)> for HeaderBlock {
    fn from_iter<T: IntoIterator<Item = (&'h str, &'h str)>>(headers: T) -> Self {
        headers.into_iter().collect::<Headers>().into()
    }
}

impl fmt::Debug for HeaderBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(raw: &'static [u8]) -> HeaderBlock {
        HeaderBlock::from_wire(Bytes::from_static(raw))
    }

    #[test]
    fn a_block_is_searched_as_the_server_does() {
        let odd =
            block(b"NATS/1.0\r\nA:  one \r\nNats-Msg-Idx: 2\r\nNats-Msg-Id:3\r\nB: \xff\r\nA: two\r\n\r\n");
        assert_eq!(odd.get("A"), Some(&b"one "[..]), "leading spaces go, others stay");
        assert_eq!(odd.get("a"), None);
        assert_eq!(odd.text("Nats-Msg-Id"), Some("3"));
        assert_eq!((odd.get("B"), odd.text("B")), (Some(&b"\xff"[..]), None));
        let pairs: Vec<_> = odd.iter().map(|(name, value)| (name.len(), value.len())).collect();
        assert_eq!(pairs, [(1, 4), (12, 1), (11, 1), (1, 1), (1, 3)]);
        assert_eq!(odd.to_headers().get("B"), Some("\u{fffd}"));
        for broken in [&b""[..], b"NATS/1.0", b"NATS/1.0\r\nA", b"NATS/1.0\r\nA: 1", b"A: 1\r\n\r\n"] {
            assert_eq!(HeaderBlock::from_wire(Bytes::copy_from_slice(broken)).get("A"), None, "{broken:?}");
        }
    }

    #[test]
    fn lines_are_added_and_removed() {
        let mut own = HeaderBlock::NONE;
        own.append("A", "1");
        own.append("B", "x\r\ny");
        own.append("A", "2");
        assert_eq!(own.as_bytes(), "NATS/1.0\r\nA: 1\r\nB: x  y\r\nA: 2\r\n\r\n");
        own.remove("A");
        assert_eq!(own.as_bytes(), "NATS/1.0\r\nB: x  y\r\nA: 2\r\n\r\n");
        own.append_all(&[("Nats-X", "1"), ("Nats-Y", "2")]);
        own.remove_prefixed("Nats-");
        assert_eq!(own.as_bytes(), "NATS/1.0\r\nB: x  y\r\nA: 2\r\n\r\n");
        for name in ["A", "C", "B"] {
            own.remove(name);
        }
        assert_eq!(own, HeaderBlock::NONE);
    }

    proptest! {
        #[test]
        fn a_list_survives_its_block(
            pairs in prop::collection::vec(("[A-Za-z-]{1,8}", "[ -~]{0,8}"), 0..5),
        ) {
            let headers: Headers =
                pairs.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
            let block = HeaderBlock::from(&headers);
            prop_assert_eq!(block.len(), headers.encoded_len());
            prop_assert_eq!(&block.to_headers(), &headers);
            for (name, _) in &pairs {
                prop_assert_eq!(block.text(name), headers.get(name));
            }
        }

        #[test]
        fn any_bytes_are_a_block(raw in prop::collection::vec(prop::sample::select(&b"NATS/1.0\r\nA: "[..]), 0..40)) {
            let mut own = HeaderBlock::from_wire(raw.into());
            let _ = (own.get("A"), own.to_headers());
            own.append("Z", "1");
            prop_assert_eq!(own.text("Z"), Some("1"));
            own.remove("A");
        }
    }
}
