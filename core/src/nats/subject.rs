//! Subjects as the client protocol has them: bytes without white space, in tokens between dots.
//!
//! Looser than [`wire::subject`](crate::wire::subject), which says what *we* put on the wire: here anything goes that the
//! real server lets pass, text or not. A wildcard is one only if it is a whole token: `a*` is a token like any other.

/// Whether it may be subscribed to: no empty token, `>` only at the end.
#[must_use]
pub fn is_filter(subject: &[u8]) -> bool {
    let mut tokens = tokens(subject).peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || (token == b">" && tokens.peek().is_some()) {
            return false;
        }
    }
    true
}

/// Whether it leads somewhere: no empty token. Wildcards are tokens like others to those who are not pedantic.
#[must_use]
pub fn is_routable(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !token.is_empty())
}

/// Whether a pedantic client may publish to it: neither empty tokens nor wildcards.
#[must_use]
pub fn is_literal(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !token.is_empty() && !is_wildcard(token))
}

/// Whether a routable subject is one that a filter means.
#[must_use]
pub fn matches(filter: &[u8], subject: &[u8]) -> bool {
    let mut there = tokens(subject);
    for wanted in tokens(filter) {
        match there.next() {
            None => return false,
            Some(_) if wanted == b">" => return true,
            Some(token) if wanted == b"*" || wanted == token => {}
            Some(_) => return false,
        }
    }
    there.next().is_none()
}

/// What stands before the first wildcard of a filter, without the dot: every subject it means begins with that.
#[must_use]
pub fn literal_prefix(filter: &[u8]) -> &[u8] {
    let mut end = 0;
    for token in tokens(filter) {
        if is_wildcard(token) {
            return &filter[..end];
        }
        end += token.len() + usize::from(end > 0);
    }
    filter
}

/// Every beginning of a subject that may be the [`literal_prefix`] of a filter that means it, shortest first.
pub fn prefixes(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    let dots = subject.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    std::iter::once(0).chain(dots).chain([subject.len()]).map(|end| &subject[..end])
}

fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|byte| *byte == b'.')
}

fn is_wildcard(token: &[u8]) -> bool {
    matches!(token, b"*" | b">")
}
