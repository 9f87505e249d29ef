//! What the fields of a file mean: where to listen, and behind which certificates.

use super::fields::{Field, each};
use super::value::{Node, Problem, Value, duration};
use crate::broker::options::{HandshakeFirst, Listen, TlsOptions, WebsocketOptions};
use std::path::PathBuf;
use std::time::Duration;

/// How long the real server waits for a handshake.
pub(crate) const TLS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// How long it waits for the first flight, if `auto` decides who speaks first.
const FIRST_WITHIN_DEFAULT: Duration = Duration::from_millis(50);

/// A port; -1 is any that is free.
pub(super) fn port(node: &Node) -> Result<u16, Problem> {
    if node.integer()? == -1 { Ok(0) } else { node.number() }
}

/// `host:port`, or a port alone.
pub(super) fn address(node: &Node, listen: &mut Listen) -> Result<(), Problem> {
    let text = match &node.value {
        Value::Integer(_) => return port(node).map(|port| listen.port = port),
        Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => node.text()?,
    };
    let wrong = || node.problem(format!("could not parse address string {text:?}"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    listen.port = if port == "-1" { 0 } else { port.parse().map_err(|_| wrong())? };
    if !host.is_empty() {
        host.clone_into(&mut listen.host);
    }
    Ok(())
}

pub(super) fn tls(node: &Node, problems: &mut Vec<Problem>) -> Result<TlsOptions, Problem> {
    let (mut certificates, mut key_file, mut authorities) = (None, None, None);
    let (mut verify, mut timeout, mut first) = (false, TLS_TIMEOUT_DEFAULT, HandshakeFirst::No);
    each(node.map()?, problems, |key, node, _| {
        let path = || node.text().map(PathBuf::from).map(Some);
        match key {
            "cert_file" => certificates = path()?,
            "key_file" => key_file = path()?,
            "ca_file" => authorities = path()?,
            "verify" => verify = node.bool()?,
            "timeout" => timeout = node.duration()?,
            "handshake_first" | "first" | "immediate" => first = handshake_first(node)?,
            // Both are all that our TLS has.
            "min_version" if matches!(node.text()?.as_str(), "1.2") => {}
            "insecure"
            | "cipher_suites"
            | "curve_preferences"
            | "min_version"
            | "verify_and_map"
            | "verify_cert_and_check_known_urls"
            | "connection_rate_limit"
            | "pinned_certs"
            | "certs"
            | "cert_store"
            | "cert_match_by"
            | "cert_match"
            | "ca_certs_match"
            | "ocsp_peer"
            | "allow_insecure_cipher_suites"
            | "cert_match_skip_invalid" => return Ok(Field::Unsupported),
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    let missing = |what: &str| node.problem(format!("missing '{what}' in TLS configuration"));
    Ok(TlsOptions {
        certificates: certificates.ok_or_else(|| missing("cert_file"))?,
        key: key_file.ok_or_else(|| missing("key_file"))?,
        authorities,
        verify,
        timeout,
        first,
        optional: false,
    })
}

fn handshake_first(node: &Node) -> Result<HandshakeFirst, Problem> {
    let word = match &node.value {
        Value::Bool(true) => return Ok(HandshakeFirst::Yes),
        Value::Bool(false) => return Ok(HandshakeFirst::No),
        Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            node.text()?
        }
    };
    if matches!(word.as_str(), "auto" | "auto_fallback") {
        return Ok(HandshakeFirst::Within(FIRST_WITHIN_DEFAULT));
    }
    let within = duration(&word).map(HandshakeFirst::Within);
    within.ok_or_else(|| node.problem(format!("field \"handshake_first\" value {word:?} is invalid")))
}

/// The door, unless it has no port.
pub(super) fn websocket(
    node: &Node,
    problems: &mut Vec<Problem>,
) -> Result<Option<WebsocketOptions>, Problem> {
    let mut listen = Listen { host: "0.0.0.0".to_owned(), port: 0 };
    let (mut encryption, mut no_tls, mut has_port) = (None, false, false);
    let mut handshake_timeout = TLS_TIMEOUT_DEFAULT;
    each(node.map()?, problems, |key, node, problems| {
        match key {
            "listen" => {
                address(node, &mut listen)?;
                has_port = true;
            }
            "port" => {
                listen.port = port(node)?;
                has_port = node.integer()? != 0;
            }
            "host" | "net" => listen.host = node.text()?,
            "tls" => encryption = Some(tls(node, problems)?),
            "no_tls" => no_tls = node.bool()?,
            "handshake_timeout" => handshake_timeout = node.duration()?,
            // A server may always do without.
            "compression" => drop(node.bool()?),
            "same_origin" if !node.bool()? => {}
            "advertise" | "same_origin" | "allowed_origins" | "allowed_origin" | "authorization"
            | "no_auth_user" | "jwt_cookie" | "user_cookie" | "pass_cookie" | "token_cookie" | "headers"
            | "ping_interval" => {
                return Ok(Field::Unsupported);
            }
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    if has_port && encryption.is_none() && !no_tls {
        return Err(node.problem("websocket requires TLS configuration"));
    }
    let tls = encryption.filter(|_| !no_tls);
    Ok(has_port.then_some(WebsocketOptions { listen, tls, handshake_timeout }))
}
