//! Where clients come in.

use super::StartError;
use super::options::Listen;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// A listening socket.
pub(super) struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Door {
    pub(super) async fn open(listen: &Listen) -> Result<Self, StartError> {
        let wanted = format!("{}:{}", listen.host, listen.port);
        let bind = async {
            let listener = TcpListener::bind(&wanted).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind.await.map_err(|source| StartError::Bind { address: wanted.clone(), source })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next client, and where it comes from.
    pub(super) async fn next(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, address))
    }
}
