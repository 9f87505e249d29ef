//! One listener per node: gRPC and HTTP on the same port.

use crate::problem::or_problem;
use crate::token::Guard;
use axum::Router;
use axum::middleware::from_fn;
use axum::serve::{Listener, ListenerExt};
use std::net::SocketAddr;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;

/// Why a node cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anybody on the network could send commands.
    #[error(
        "{0} is not a loopback address, and commands and queries are not authenticated: put it behind something that \
         does that, and say --allow-unauthenticated"
    )]
    Unauthenticated(SocketAddr),
    /// Anybody on the network could do what operators do.
    #[error(
        "{0} may be reached by others, and /admin would be open to all of them: give a token with --admin-token-file"
    )]
    NoToken(SocketAddr),
}

/// Who may be reached from elsewhere.
#[derive(Clone, Debug)]
pub struct Openness {
    /// Commands or queries are served, and somebody insists that they may be reached.
    pub unauthenticated: Option<bool>,
    /// `/admin` is served, behind this.
    pub admin: Option<Guard>,
}

/// Binds a listener. What is not authenticated is served on loopback addresses only, unless somebody insists; `/admin`
/// needs a token elsewhere.
///
/// # Errors
/// [`ListenError`] when the address cannot be used, or may be reached from outside.
pub async fn bind(address: &str, openness: &Openness) -> Result<TcpListener, ListenError> {
    let fault = |source| ListenError::Bind { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let local = listener.local_addr().map_err(fault)?;
    let is_loopback = local.ip().is_loopback();
    if !is_loopback && openness.unauthenticated == Some(false) {
        return Err(ListenError::Unauthenticated(local));
    }
    // Who insists has something in front that lets others in: a loopback address keeps nobody out then.
    let is_open = !is_loopback || openness.unauthenticated == Some(true);
    if is_open && openness.admin.as_ref().is_some_and(|guard| !guard.asks()) {
        return Err(ListenError::NoToken(local));
    }
    Ok(listener)
}

/// gRPC services as routes beside others. Unknown methods become plain 404s, which gRPC clients read as unimplemented.
pub fn grpc(routes: Routes) -> Router {
    routes.into_axum_router().reset_fallback()
}

/// Sends what is written at once. An answer over HTTP/2 is several small writes, and without this the second waits for
/// the acknowledgement of the first, which the other side delays by 40 ms.
fn promptly(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers on this connection may be slow");
        }
    })
}

/// Serves until `stop` says so, then lets requests under way finish.
#[must_use]
pub fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let stopped = async move {
            // An error means that whoever could stop it is gone.
            drop(stop.wait_for(|stop| *stop).await);
        };
        let router = router.layer(from_fn(or_problem));
        if let Err(error) = axum::serve(promptly(listener), router).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the listener failed");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::token::Token;

    fn openness(unauthenticated: Option<bool>, admin: Option<Option<&str>>) -> Openness {
        let guard =
            |token: Option<&str>| Guard::new(token.map(|own| Token::parse(own).expect("a token")).as_ref());
        Openness { unauthenticated, admin: admin.map(guard) }
    }

    #[tokio::test]
    async fn who_can_be_reached_is_authenticated_or_somebody_insists() {
        let anywhere = async |own: Openness| bind("0.0.0.0:0", &own).await;
        let token = Some("a-token-of-some-length");
        let refused = anywhere(openness(Some(false), None)).await;
        assert!(matches!(refused, Err(ListenError::Unauthenticated(_))), "{refused:?}");
        for open in [openness(None, Some(None)), openness(Some(true), Some(None))] {
            let refused = anywhere(open).await;
            assert!(matches!(refused, Err(ListenError::NoToken(_))), "{refused:?}");
        }
        for shut in
            [openness(None, Some(token)), openness(Some(true), Some(token)), openness(Some(true), None)]
        {
            assert!(anywhere(shut).await.is_ok());
        }
        assert!(bind("127.0.0.1:0", &openness(Some(false), Some(None))).await.is_ok());
        let behind_a_proxy = bind("127.0.0.1:0", &openness(Some(true), Some(None))).await;
        assert!(
            matches!(behind_a_proxy, Err(ListenError::NoToken(_))),
            "it lets others in: {behind_a_proxy:?}"
        );
    }

    #[tokio::test]
    async fn small_writes_do_not_wait_for_each_other() {
        let listener = bind("127.0.0.1:0", &openness(None, None)).await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (accepted, _) = promptly(listener).accept().await;
        assert!(accepted.nodelay().expect("an option"));
        drop(client);
    }
}
