//! One listener per node: gRPC and HTTP on the same port.

use crate::proto::DESCRIPTORS;
use axum::Router;
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
    /// Anybody on the network could use it.
    #[error(
        "{0} is not a loopback address, and this version has no authentication: put it behind something that has, \
         and say --allow-unauthenticated"
    )]
    Unauthenticated(SocketAddr),
}

/// Binds a listener. Without authentication only loopback addresses are served, unless somebody insists.
///
/// # Errors
/// [`ListenError`] when the address cannot be used, or may be reached from outside.
pub async fn bind(address: &str, allow_unauthenticated: bool) -> Result<TcpListener, ListenError> {
    let fault = |source| ListenError::Bind { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let local = listener.local_addr().map_err(fault)?;
    if local.ip().is_loopback() || allow_unauthenticated {
        Ok(listener)
    } else {
        Err(ListenError::Unauthenticated(local))
    }
}

/// Adds `grpc.reflection` to a node's services.
#[must_use]
pub fn with_reflection(routes: Routes) -> Routes {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    match reflection {
        Ok(reflection) => routes.add_service(reflection),
        Err(error) => {
            tracing::error!(%error, "no reflection");
            routes
        }
    }
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
        if let Err(error) = axum::serve(promptly(listener), router).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the listener failed");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_writes_do_not_wait_for_each_other() {
        let listener = bind("127.0.0.1:0", false).await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (accepted, _) = promptly(listener).accept().await;
        assert!(accepted.nodelay().expect("an option"));
        drop(client);
    }
}
