//! Asking a running node over its `/admin`.

use crate::cli::NodeArguments;
use crate::token::{Token, TokenError};
use cloudlysis_io_nats::address::Address as Written;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;
use std::time::Duration;
use thiserror::Error;

/// How long a node may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a node was asked in vain.
#[derive(Debug, Error)]
pub enum AskError {
    /// The address is not one.
    #[error("`{url}` is not the address of a node; use --node http://host:port")]
    Address {
        /// What was given.
        url: Written,
    },
    /// The token cannot be used.
    #[error("{0}; the node's token is in --token-file, CLOUDLYSIS_TOKEN_FILE or CLOUDLYSIS_TOKEN")]
    Token(#[from] TokenError),
    /// Nobody answers.
    #[error("{url} does not answer: {source}; is it running, and is this its address (--node)?")]
    NoAnswer {
        /// Who was asked.
        url: Written,
        /// What happened.
        source: reqwest::Error,
    },
    /// What was given is not JSON.
    #[error("--payload is not JSON: {0}")]
    Payload(serde_json::Error),
    /// What was given is more than a node takes.
    #[error("--payload is larger than {max} bytes")]
    TooLarge {
        /// The most.
        max: usize,
    },
    /// Nobody knows what became of a request that has a name.
    #[error("{source}; to ask again for the same, add --id {id}")]
    Repeatable {
        /// What happened.
        source: Box<AskError>,
        /// The name.
        id: String,
    },
    /// The node says no.
    #[error("{code}: {detail}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it calls it.
        code: String,
        /// What it says.
        detail: String,
    },
}

impl AskError {
    /// Says how to ask again, where it is not known whether it was done.
    pub(super) fn named(self, id: &str) -> Self {
        match self.exit_code() {
            6 => Self::Repeatable { source: Box::new(self), id: id.to_owned() },
            _ => self,
        }
    }

    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. }
            | Self::Token(_)
            | Self::Payload(_)
            | Self::TooLarge { .. }
            | Self::Refused { status: 400, .. } => 2,
            Self::Refused { status: 404, .. } => 3,
            Self::Refused { status: 409, .. } => 4,
            Self::Refused { status: 401 | 403, .. } => 5,
            Self::NoAnswer { .. } | Self::Refused { status: 503 | 504, .. } => 6,
            Self::Refused { .. } => 1,
            Self::Repeatable { source, .. } => source.exit_code(),
        }
    }
}

/// Where something is found at a node.
pub(super) struct Address<'a> {
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, String)],
}

/// The token of a node, if there is one.
fn token(node: &NodeArguments) -> Result<Option<Token>, TokenError> {
    match &node.token_file {
        Some(file) => Token::read(file).map(Some),
        None => std::env::var("CLOUDLYSIS_TOKEN").ok().map(|text| Token::parse(&text)).transpose(),
    }
}

/// Asks a node and reads its JSON.
pub(super) async fn ask(
    node: &NodeArguments,
    method: Method,
    address: &Address<'_>,
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<Value, AskError> {
    let wrong = || AskError::Address { url: node.node.clone() };
    let mut url = Url::parse(node.node.as_str()).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.clear().extend(address.path);
    if !address.query.is_empty() {
        url.query_pairs_mut().extend_pairs(address.query);
    }
    let mut request = reqwest::Client::new().request(method, url.clone()).timeout(DEADLINE);
    if let Some(tenant) = &node.tenant {
        request = request.header("x-tenant-id", tenant);
    }
    if let Some(token) = token(node)? {
        request = request.bearer_auth(token.as_str());
    }
    // Its own words for where would have all of it.
    let silent =
        |source: reqwest::Error| AskError::NoAnswer { url: node.node.clone(), source: source.without_url() };
    let response = with(request).send().await.map_err(silent)?;
    let status = response.status();
    let body = response.bytes().await.map_err(silent)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(body);
    }
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    Err(AskError::Refused {
        status: status.as_u16(),
        code: text("code").unwrap_or_else(|| status.to_string()),
        detail: text("detail").unwrap_or_else(|| "the node gave no reason".to_owned()),
    })
}
