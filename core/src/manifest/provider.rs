//! `http`, `nats` or `builtin` of an effect: how it is carried out, and the request that a command fills in.
//!
//! ```yaml
//! http:                                    # a request with `Idempotency-Key`
//!   method: POST
//!   url: "${var:services}/payments/charges"
//!   headers: { x-shop: "= command.tenant_id" }
//!   body: { order: = command.payload.order }
//! nats:                                    # a request to a service on the same broker, with `Idempotency-Key`
//!   subject: "payments.charge"
//!   headers: { x-shop: "= command.tenant_id" }
//!   body: { order: = command.payload.order }
//! builtin:                                 # for development and benches: nothing is called
//!   status: 200
//!   body: { charge: "= 'c-' + command.payload.order" }
//!   delay_ms: 50
//! ```
//!
//! Exactly one of them. Each answers with a status: of a NATS service that is its `Nats-Service-Error-Code`, and 200 if it
//! sends none. A literal header may have [secrets](super::secret) in it. What is written out, and could never be sent, is a
//! fault; so is a literal target that `egress` does not allow.
//!
//! Not here: what a status means, where calls may go ([`Egress`](super::Egress)).

use super::egress::{self, NATS, NoTarget};
use super::reader::{Fields, Reader};
use super::secret::SecretHeader;
use super::yaml::{Node, Span, Yaml};
use crate::program::dag::Filling;
use crate::program::{Gas, Inputs, ProgramError};
use crate::wire::subject::Subject;
use serde_json::Value;
use std::sync::Arc;

/// What an effect command reads: `command` with `payload`, `command_id` and `tenant_id`.
pub(super) const INPUTS: [&str; 1] = ["command"];

/// Longest pause of a built-in answer, in milliseconds.
const DELAY_MS_MAX: u64 = 60_000;

/// Headers the platform sets itself, or that would break the request.
const RESERVED_HEADERS: [&str; 3] = ["idempotency-key", "host", "content-length"];

/// A request, filled in.
#[derive(Clone, PartialEq, Debug)]
pub enum EffectRequest {
    /// Over HTTP.
    Http(HttpRequest),
    /// To a NATS service.
    Nats(NatsRequest),
    /// To nobody.
    Builtin(BuiltinRequest),
}

/// A request over HTTP.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: &'static str,
    /// The URL.
    pub url: String,
    /// Headers besides those the provider sets.
    pub headers: Vec<(String, String)>,
    /// Headers with secrets in them, which only the provider knows.
    pub secret_headers: Arc<[SecretHeader]>,
    /// The JSON body.
    pub body: Option<Value>,
}

/// A request to a NATS service.
#[derive(Clone, PartialEq, Debug)]
pub struct NatsRequest {
    /// Where the service listens.
    pub subject: String,
    /// Headers besides those the provider sets.
    pub headers: Vec<(String, String)>,
    /// Headers with secrets in them, which only the provider knows.
    pub secret_headers: Arc<[SecretHeader]>,
    /// The JSON body.
    pub body: Option<Value>,
}

/// An answer that is known beforehand.
#[derive(Clone, PartialEq, Debug)]
pub struct BuiltinRequest {
    /// The status, 100 to 599.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// How long until the answer, in milliseconds.
    pub delay_ms: u64,
}

impl EffectRequest {
    /// Where it goes, for people.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Http(request) => &request.url,
            Self::Nats(request) => &request.subject,
            Self::Builtin(_) => "builtin",
        }
    }

    /// What is sent, or answered by nobody.
    #[must_use]
    pub const fn body(&self) -> Option<&Value> {
        match self {
            Self::Http(request) => request.body.as_ref(),
            Self::Nats(request) => request.body.as_ref(),
            Self::Builtin(request) => Some(&request.body),
        }
    }

    /// Headers besides those the provider sets.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        match self {
            Self::Http(request) => &request.headers,
            Self::Nats(request) => &request.headers,
            Self::Builtin(_) => &[],
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Provider {
    Http { method: &'static str, url: Filling, message: Message },
    Nats { subject: Filling, message: Message },
    Builtin { status: Option<Filling>, body: Option<Filling>, delay_ms: u64 },
}

/// Headers and body of a request.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Message {
    headers: Vec<(String, Filling)>,
    secret_headers: Arc<[SecretHeader]>,
    body: Option<Filling>,
}

struct Filled {
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

impl Provider {
    /// Takes the one field that is there from an effect's.
    pub(super) fn read(fields: &mut Fields<'_>, span: Span, reader: &mut Reader<'_>) -> Option<Self> {
        let http = fields.optional("http");
        let nats = fields.optional("nats");
        let builtin = fields.optional("builtin");
        match (http, nats, builtin) {
            (Some(node), None, None) => Self::read_http(node, reader),
            (None, Some(node), None) => Self::read_nats(node, reader),
            (None, None, Some(node)) => Self::read_builtin(node, reader),
            (None, None, None) => {
                let help = Some("one of `http`, `nats` and `builtin`".to_owned());
                reader.fault(span, "effect: nothing says how it is carried out".into(), help);
                None
            }
            (..) => {
                let message = "effect: only one of `http`, `nats` and `builtin` can be given".to_owned();
                reader.fault(span, message, None);
                None
            }
        }
    }

    fn read_http(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "http request", reader);
        let method = fields.required("method", reader).and_then(|node| read_method(node, reader));
        let url = fields.required("url", reader).and_then(|node| read_target(node, check_url, reader));
        let message = Message::read(&mut fields, Protocol::Http, reader);
        fields.finish(reader);
        Some(Self::Http { method: method?, url: url?, message })
    }

    fn read_nats(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "nats request", reader);
        let subject =
            fields.required("subject", reader).and_then(|node| read_target(node, check_subject, reader));
        let message = Message::read(&mut fields, Protocol::Nats, reader);
        fields.finish(reader);
        Some(Self::Nats { subject: subject?, message })
    }

    fn read_builtin(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "builtin", reader);
        let mut filling = |name, reader: &mut Reader<'_>| {
            fields.optional(name).map(|node| Filling::compile(node, &INPUTS, reader))
        };
        let status = filling("status", reader);
        let body = filling("body", reader);
        let delay_ms = fields.optional("delay_ms");
        fields.finish(reader);
        let delay_ms = delay_ms.map_or(Some(0), |node| reader.integer(node, 0, DELAY_MS_MAX))?;
        Some(Self::Builtin { status, body, delay_ms })
    }

    /// What it calls, as far as that is known beforehand: `host:port`, or `nats:<subject>`.
    pub(super) fn upstream(&self) -> Option<String> {
        match self {
            Self::Http { url, .. } => authority(url.literal()?),
            Self::Nats { subject, .. } => Some(format!("{NATS}{}", subject.literal()?)),
            Self::Builtin { .. } => None,
        }
    }

    /// Where it calls, as [`Egress`](super::Egress) spells it, if that is known beforehand.
    pub(super) fn target(&self) -> Option<String> {
        let known =
            |filling: &'_ Filling| filling.literal().filter(|text| !text.contains("${")).map(str::to_owned);
        match self {
            Self::Http { url, .. } => egress::target(&authority(&known(url)?)?).ok(),
            Self::Nats { subject, .. } => Some(format!("{NATS}{}", known(subject)?)),
            Self::Builtin { .. } => None,
        }
    }

    /// Headers with secrets in them.
    pub(super) fn secret_headers(&self) -> &[SecretHeader] {
        match self {
            Self::Http { message, .. } | Self::Nats { message, .. } => &message.secret_headers,
            Self::Builtin { .. } => &[],
        }
    }

    /// Whether somebody is called at all.
    pub(super) const fn calls(&self) -> bool {
        match self {
            Self::Http { .. } | Self::Nats { .. } => true,
            Self::Builtin { .. } => false,
        }
    }

    pub(super) fn fill(&self, command: &Value, gas: &mut Gas) -> Result<EffectRequest, ProgramError> {
        let inputs: &Inputs<'_> = &[("command", command)];
        match self {
            Self::Http { method, url, message } => {
                let Filled { headers, body } = message.fill(inputs, gas)?;
                let secret_headers = Arc::clone(&message.secret_headers);
                let url = line(url, "the url", inputs, gas)?;
                Ok(EffectRequest::Http(HttpRequest { method, url, headers, secret_headers, body }))
            }
            Self::Nats { subject, message } => {
                let Filled { headers, body } = message.fill(inputs, gas)?;
                let secret_headers = Arc::clone(&message.secret_headers);
                let subject = line(subject, "the subject", inputs, gas)?;
                Ok(EffectRequest::Nats(NatsRequest { subject, headers, secret_headers, body }))
            }
            Self::Builtin { status, body, delay_ms } => {
                let status = status.as_ref().map(|status| status.run(inputs, gas)).transpose()?;
                let status = match status {
                    None => 200,
                    Some(status) => {
                        let number = status.as_u64().and_then(|number| u16::try_from(number).ok());
                        number.filter(|number| (100..600).contains(number)).ok_or_else(|| {
                            let detail =
                                format!("the status came out as {status}, not as a number from 100 to 599");
                            ProgramError::Output { detail }
                        })?
                    }
                };
                let body = body.as_ref().map(|body| body.run(inputs, gas)).transpose()?.unwrap_or_default();
                Ok(EffectRequest::Builtin(BuiltinRequest { status, body, delay_ms: *delay_ms }))
            }
        }
    }
}

/// How headers are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Nats,
}

impl Message {
    fn read(fields: &mut Fields<'_>, protocol: Protocol, reader: &mut Reader<'_>) -> Self {
        let headers_node = fields.optional("headers");
        let body = fields.optional("body").map(|node| Filling::compile(node, &INPUTS, reader));
        let mut headers = Vec::new();
        let mut secret_headers = Vec::new();
        for (key, value) in headers_node.map(|node| reader.entries(node)).unwrap_or_default() {
            let name = key.text.to_ascii_lowercase();
            let token =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !token || RESERVED_HEADERS.contains(&name.as_str()) || name.starts_with("nats-") {
                reader.fault(key.span, format!("header `{}` cannot be set here", key.text), None);
            }
            if !check_header(value, protocol, reader) {
                continue;
            }
            match SecretHeader::read(&name, value, reader) {
                Some(header) => secret_headers.push(header),
                None => headers.push((name, Filling::compile(value, &INPUTS, reader))),
            }
        }
        Self { headers, secret_headers: secret_headers.into(), body }
    }

    fn fill(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Filled, ProgramError> {
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, filling) in &self.headers {
            headers.push((name.clone(), line(filling, "a header", inputs, gas)?));
        }
        Ok(Filled { headers, body: self.body.as_ref().map(|body| body.run(inputs, gas)).transpose()? })
    }
}

/// A line of text, filled in.
fn line(filling: &Filling, what: &str, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<String, ProgramError> {
    let value = filling.run(inputs, gas)?;
    match value.as_str() {
        Some(text) if !text.contains(['\r', '\n']) => Ok(text.to_owned()),
        Some(_) | None => {
            Err(ProgramError::Output { detail: format!("{what} came out as {value}, not as a line of text") })
        }
    }
}

/// A header's value that is written out must be one that can be sent; faults go to the reader.
fn check_header(node: &Node, protocol: Protocol, reader: &mut Reader<'_>) -> bool {
    let can_be_sent = |c: char| protocol == Protocol::Nats || c == '\t' || c == ' ' || c.is_ascii_graphic();
    let (message, help) = match &node.value {
        Yaml::Text(text) if text.starts_with('=') => return true,
        Yaml::Text(text) if text.contains(['\r', '\n']) => {
            ("a header is one line of text".to_owned(), "leave out its line ends".to_owned())
        }
        Yaml::Text(text) => match text.chars().find(|c| !can_be_sent(*c)) {
            Some(c) => {
                let help = "letters, digits and signs of ASCII, spaces and tabs".to_owned();
                (format!("the header has {c:?} in it, which cannot be sent over HTTP"), help)
            }
            None => return true,
        },
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => {
            let help = format!("write it as text: \"{}\"", node.to_json());
            (format!("a header's value is text, and this is {}", node.kind()), help)
        }
        Yaml::Null | Yaml::List(_) | Yaml::Map(_) => {
            let help = "one text, or an expression that gives one".to_owned();
            (format!("a header's value is text, and this is {}", node.kind()), help)
        }
    };
    reader.fault(node.span, message, Some(help));
    false
}

/// Where a call goes, checked as far as that is known beforehand.
fn read_target(
    node: &Node,
    check: fn(&str) -> Result<(), NoTarget>,
    reader: &mut Reader<'_>,
) -> Option<Filling> {
    let text = reader.text(node)?;
    // A placeholder that is left has a fault of its own.
    let is_known = !text.starts_with('=') && !text.contains("${");
    match check(&text) {
        Err(NoTarget { message, help }) if is_known => {
            reader.fault(node.span, message, Some(help));
            None
        }
        Ok(()) | Err(NoTarget { .. }) => Some(Filling::compile(node, &INPUTS, reader)),
    }
}

fn check_subject(subject: &str) -> Result<(), NoTarget> {
    let no = |error| NoTarget { message: format!("`{subject}` is no subject"), help: format!("{error}") };
    Subject::parse(subject).map(drop).map_err(no)
}

fn check_url(url: &str) -> Result<(), NoTarget> {
    let no = |message: String, help: &str| Err(NoTarget { message, help: help.to_owned() });
    if url.contains(char::is_control) {
        return no("a URL is one line of text".into(), "leave out its line ends");
    }
    let Some((scheme, _)) = url.split_once("://") else {
        return no(format!("`{url}` is no URL"), "it begins with `http://` or `https://`");
    };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return no(format!("scheme `{scheme}` is not supported"), "`http` or `https`");
    }
    let Some(authority) = authority(url) else {
        return no(format!("`{url}` names no host"), "for example `https://example.com/path`");
    };
    // How the client spells other scripts is known when the call is made.
    if authority.is_ascii() && !authority.contains('%') {
        egress::target(&authority).map(drop)
    } else {
        Ok(())
    }
}

/// `host:port` of a URL, in lower case.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = rest.split(['/', '\\', '?', '#']).next()?;
    let host = host.rsplit('@').next()?.to_ascii_lowercase();
    let host = host.strip_suffix(':').unwrap_or(&host);
    let has_port = host.rsplit(']').next()?.contains(':');
    (!host.is_empty()).then(|| if has_port { host.to_owned() } else { format!("{host}:{port}") })
}

fn read_method(node: &Node, reader: &mut Reader<'_>) -> Option<&'static str> {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let text = reader.text(node)?;
    let method = METHODS.into_iter().find(|method| *method == text);
    if method.is_none() {
        let help = Some(format!("one of {}", METHODS.join(", ")));
        reader.fault(node.span, format!("unknown method `{text}`"), help);
    }
    method
}
