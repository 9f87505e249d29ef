//! The token that operators show a node, and what stands in front of `/admin` and its gRPC twin.
//!
//! A node keeps a digest of its token, and compares digests in a time that says nothing about where they differ. Probes
//! and metrics are open: who watches a node need not be able to stop it.

use crate::admin::fault::{Fault, Kind};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Shortest token, in characters: long enough not to be guessed.
const LENGTH_MIN: usize = 16;
/// Longest token, in characters: it must fit into a header.
const LENGTH_MAX: usize = 1_024;

/// Why a token is none.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("the token's file {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot be used.
    #[error(
        "a token has {LENGTH_MIN} to {LENGTH_MAX} visible ASCII characters and no spaces; this one has not"
    )]
    Unusable,
}

/// A token that somebody has.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// Takes a text as a token. White space around it is not part of it.
    ///
    /// # Errors
    /// When it is too short, too long, or cannot be in a header.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let usable =
            (LENGTH_MIN..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
        if usable { Ok(Self(text.to_owned())) } else { Err(TokenError::Unusable) }
    }

    /// Reads a token from its file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds none.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path);
        Self::parse(&text.map_err(|source| TokenError::Io { path: path.to_owned(), source })?)
    }

    /// As a header says it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lets in who knows the token; everybody, where there is none.
#[derive(Clone, Debug)]
pub struct Guard(Option<[u8; 32]>);

impl Guard {
    /// A guard that asks for a token.
    #[must_use]
    pub fn new(token: Option<&Token>) -> Self {
        Self(token.map(|token| digest(token.as_str())))
    }

    /// Whether it asks for one.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a caller with this `authorization` may come in.
    #[must_use]
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        let Some(wanted) = &self.0 else { return true };
        let shown = authorization.and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        shown.is_some_and(|(_, token)| digest(token.trim()).ct_eq(wanted).into())
    }

    /// Stands in front of these routes.
    pub fn around(&self, router: Router) -> Router {
        // A router without routes takes no layer of theirs.
        if router.has_routes() { router.route_layer(from_fn_with_state(self.clone(), ask)) } else { router }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Whether the answer is to be a status of gRPC: its clients cannot read a problem.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn ask(State(guard): State<Guard>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if guard.admits(shown) {
        return next.run(request).await;
    }
    let detail = "this needs the token of the node, as `authorization: Bearer <token>`";
    let fault = Fault::new(Kind::Unauthenticated, "unauthorised", detail);
    if is_grpc(&headers) { fault.into_grpc() } else { fault.into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-some-length";

    #[test]
    fn only_the_token_opens() {
        let guard = Guard::new(Some(&Token::parse(TOKEN).expect("a token")));
        for open in ["Bearer a-token-of-some-length", "bearer a-token-of-some-length"] {
            assert!(guard.admits(Some(open)), "{open}");
        }
        let shut = ["", "Bearer", "Bearer ", "Basic a-token-of-some-length", "a-token-of-some-length"];
        for shut in shut.into_iter().chain(["Bearer a-token-of-some-lengt", "Bearer a-token-of-some-length2"])
        {
            assert!(!guard.admits(Some(shut)), "{shut}");
        }
        assert!(!guard.admits(None));
        assert!(Guard::new(None).admits(None), "where there is none, nobody is asked");
    }

    #[test]
    fn a_token_is_long_and_is_not_printed() {
        assert!(Token::parse("short").is_err());
        assert!(Token::parse("a token with spaces in it").is_err());
        let token = Token::parse(&format!("{TOKEN}\n")).expect("a file ends with a new line");
        assert_eq!(token.as_str(), TOKEN);
        assert!(!format!("{token:?} {:?}", Guard::new(Some(&token))).contains(TOKEN));
    }
}
