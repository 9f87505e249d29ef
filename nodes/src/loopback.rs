//! Who may ask a node that asks nobody for a token: programs on its own machine, and no web page.
//!
//! ```text
//! request ─► is it sent to this machine by name or number? ─► does it come from a page of this machine, or of none? ─► node
//!                          └ no: 403                                          └ no: 403
//! ```
//!
//! Such a node listens on loopback addresses only. But what somebody looks at in a browser there can send requests as well:
//! from any site, and by a name of its own that leads to this machine. Browsers say to which name a request was sent
//! (`host`) and which site it is of (`origin`), and pages cannot change either.
//!
//! Not here: nodes that ask for a token ([`token`](crate::token)), and those that somebody insists may be reached: behind a
//! proxy requests are sent to other names.

use crate::admin::fault::{Fault, Kind};
use crate::server::Openness;
use crate::token::Guard;
use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

impl Openness {
    /// These routes, for a listener at this address.
    pub fn around(&self, address: SocketAddr, router: Router) -> Router {
        if self.trusts(address) { router.layer(from_fn(ask)) } else { router }
    }

    /// Whether what comes to this address is answered because it comes from this machine.
    fn trusts(&self, address: SocketAddr) -> bool {
        let asks = self.admin.as_ref().is_none_or(Guard::asks);
        let is_open = self.unauthenticated == Some(false) || (self.unauthenticated.is_none() && !asks);
        is_open && address.ip().is_loopback()
    }
}

async fn ask(request: Request, next: Next) -> Response {
    let sent_to = request.uri().authority().map(Authority::host);
    match refusal(sent_to, request.headers()) {
        None => next.run(request).await,
        Some(detail) => {
            let grpc = request.headers().get(header::CONTENT_TYPE);
            let is_grpc = grpc.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
            let fault = Fault::new(Kind::Forbidden, "not_from_here", detail);
            if is_grpc { fault.into_grpc() } else { fault.into_response() }
        }
    }
}

/// Why a request is not answered.
fn refusal(sent_to: Option<&str>, headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let host =
        text(header::HOST).map(|host| host.parse::<Authority>().map_or(host, |own| own.host().to_owned()));
    if let Some(name) = sent_to.map(str::to_owned).or(host)
        && !is_here(&name)
    {
        return Some(format!(
            "this node asks nobody who they are, and was asked as {name:?}: ask it as localhost, or by number"
        ));
    }
    let origin = text(header::ORIGIN)?;
    let site = origin.parse::<Uri>().ok().and_then(|own| own.host().map(str::to_owned));
    let is_ours = site.is_some_and(|site| is_here(&site));
    (!is_ours)
        .then(|| format!("this node asks nobody who they are, and takes nothing from pages of {origin:?}"))
}

/// Whether a name leads to this machine wherever it is looked up.
fn is_here(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let host = host.to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server;
    use crate::token::Token;
    use axum::routing::post;
    use reqwest::StatusCode;
    use tokio::sync::watch;

    fn openness(unauthenticated: Option<bool>, token: Option<&str>) -> Openness {
        let token = token.map(|own| Token::parse(own).expect("a token"));
        Openness { unauthenticated, admin: Some(Guard::new(token.as_ref())) }
    }

    #[tokio::test]
    async fn programs_of_this_machine_are_answered_and_pages_of_others_are_not() {
        cloudlysis_io_nats::install_tls_provider();
        let own = openness(Some(false), None);
        let listener = server::bind("127.0.0.1:0", &own).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = own.around(address, Router::new().route("/kill", post(|| async {})));
        let (_stop, stopping) = watch::channel(false);
        let server = server::serve(listener, router, stopping);
        let status = async |headers: &[(&str, &str)]| {
            let mut request = reqwest::Client::new().post(format!("http://{address}/kill"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.send().await.expect("an answer").status()
        };
        assert_eq!(status(&[]).await, StatusCode::OK);
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "Shop.LocalHost"] {
            assert_eq!(status(&[("host", host)]).await, StatusCode::OK, "{host}");
            let origin = format!("http://{host}");
            assert_eq!(status(&[("origin", &origin)]).await, StatusCode::OK, "{origin}");
        }
        for host in ["evil.com", "evil.com:8080", "localhost.evil.com", "10.0.0.1", "127.0.0.1.evil.com"] {
            assert_eq!(status(&[("host", host)]).await, StatusCode::FORBIDDEN, "{host}");
        }
        for origin in ["http://evil.com", "https://localhost.evil.com", "null", "file://", ""] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(status(&headers).await, StatusCode::FORBIDDEN, "{origin}");
        }
        server.abort();
    }

    #[test]
    fn who_asks_for_a_token_or_is_behind_a_proxy_does_not_look() {
        let (here, there) = (SocketAddr::from(([127, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 1], 80)));
        let token = Some("a-token-of-some-length");
        for looks in [openness(Some(false), None), openness(Some(false), token), openness(None, None)] {
            assert!(looks.trusts(here) && !looks.trusts(there));
        }
        for open in [openness(Some(true), None), openness(Some(true), token), openness(None, token)] {
            assert!(!open.trusts(here));
        }
    }
}
