//! Where clients come in.

use super::StartError;
use super::approach::Approach;
use super::options::{Listen, Options};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// The listening sockets, and what lies behind each.
pub(super) struct Doors {
    clients: Door,
    websockets: Option<Door>,
}

/// Where the listening sockets are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Addresses {
    pub(super) clients: SocketAddr,
    pub(super) websockets: Option<SocketAddr>,
}

struct Door {
    listener: TcpListener,
    address: SocketAddr,
    approach: Approach,
}

/// Somebody who has come.
pub(super) type Arrived = (TcpStream, SocketAddr, Approach);

impl Doors {
    pub(super) async fn open(options: &Options) -> Result<Self, StartError> {
        let websockets = match &options.websocket {
            None => None,
            Some(own) => Some(Door::open(&own.listen, Approach::of_websockets(own)?).await?),
        };
        let clients = Door::open(&options.listen, Approach::of_clients(options.tls.as_ref())?).await?;
        Ok(Self { clients, websockets })
    }

    pub(super) fn addresses(&self) -> Addresses {
        let websockets = self.websockets.as_ref().map(|door| door.address);
        Addresses { clients: self.clients.address, websockets }
    }

    /// The next client, and where it comes from.
    pub(super) async fn next(&self) -> io::Result<Arrived> {
        match &self.websockets {
            None => self.clients.next().await,
            Some(websockets) => {
                tokio::select! {
                    arrived = self.clients.next() => arrived,
                    arrived = websockets.next() => arrived,
                }
            }
        }
    }
}

impl Door {
    async fn open(listen: &Listen, approach: Approach) -> Result<Self, StartError> {
        let bind = async {
            let listener = TcpListener::bind((listen.host.as_str(), listen.port)).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let address = || format!("{}:{}", listen.host, listen.port);
        let bound = bind.await.map_err(|source| StartError::Bind { address: address(), source });
        bound.map(|(listener, address)| Self { listener, address, approach })
    }

    async fn next(&self) -> io::Result<Arrived> {
        let (stream, address) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, address, self.approach.clone()))
    }
}
