//! What lies between a socket that was accepted and a client that is served: encryption, WebSocket.
//!
//! ```text
//!  clients ───────────────────► Connected ─► INFO ─► served
//!  clients, TLS ──────────────► Connected ─► INFO in clear ─► handshake ─► served
//!  clients, handshake first ──► handshake ─► Connected ─► INFO ─► served
//!  WebSocket ─► (handshake) ──► HTTP upgrade ─► Connected ─► INFO ─► served
//! ```
//!
//! Every step has a time limit, so nobody holds a socket by doing nothing.

use super::options::{HandshakeFirst, TlsOptions, WebsocketOptions};
use super::outbox::{Next, Outbox};
use super::shell::Inbox;
use super::tls::{self, TlsError};
use super::websocket::WebSocketBytes;
use super::{connection, identity};
use cloudlysis_core::nats::ConnectionId;
use cloudlysis_core::nats::server::Input;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Encryption, ready to be used.
#[derive(Clone)]
struct Encryption {
    acceptor: TlsAcceptor,
    timeout: Duration,
    first: HandshakeFirst,
    optional: bool,
}

impl Encryption {
    fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let TlsOptions { timeout, first, optional, .. } = *options;
        Ok(Self { acceptor: tls::acceptor(options)?, timeout, first, optional })
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        within(self.timeout, self.acceptor.accept(stream)).await
    }
}

/// How clients come in by one door.
#[derive(Clone)]
enum Kind {
    Plain,
    Encrypted(Encryption),
    WebSocket { encryption: Option<Encryption>, timeout: Duration },
}

/// How clients come in by one door.
#[derive(Clone)]
pub(super) struct Approach(Kind);

impl Approach {
    pub(super) fn of_clients(options: Option<&TlsOptions>) -> Result<Self, TlsError> {
        Ok(Self(match options {
            None => Kind::Plain,
            Some(options) => Kind::Encrypted(Encryption::new(options)?),
        }))
    }

    pub(super) fn of_websockets(options: &WebsocketOptions) -> Result<Self, TlsError> {
        let encryption = options.tls.as_ref().map(Encryption::new).transpose()?;
        Ok(Self(Kind::WebSocket { encryption, timeout: options.handshake_timeout }))
    }
}

/// Somebody who has come to a door.
pub(super) struct Visitor {
    pub(super) id: ConnectionId,
    pub(super) address: SocketAddr,
    pub(super) inbox: Rc<Inbox>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) write_deadline: Duration,
}

impl Visitor {
    /// Brings it in and serves it until one side ends that. `Disconnected` is said last, whatever happened.
    pub(super) async fn come(self, stream: TcpStream, approach: Approach) {
        if let Err(error) = self.approach(stream, approach).await {
            tracing::debug!(client = self.id.0, address = %self.address, %error, "a client could not be let in");
        }
        self.outbox.cut();
        self.inbox.push(Input::Disconnected { connection: self.id });
    }

    async fn approach(&self, stream: TcpStream, Approach(kind): Approach) -> io::Result<()> {
        match kind {
            Kind::Plain => {
                self.arrive();
                let (reader, writer) = stream.into_split();
                self.serve(reader, writer).await;
            }
            Kind::Encrypted(encryption) => self.encrypted(stream, &encryption).await?,
            Kind::WebSocket { encryption: None, timeout } => self.websocket(stream, timeout).await?,
            Kind::WebSocket { encryption: Some(encryption), timeout } => {
                self.websocket(encryption.accept(stream).await?, timeout).await?;
            }
        }
        Ok(())
    }

    async fn encrypted(&self, mut stream: TcpStream, encryption: &Encryption) -> io::Result<()> {
        let first = match encryption.first {
            HandshakeFirst::No => false,
            HandshakeFirst::Yes => true,
            HandshakeFirst::Within(patience) => begins_handshake(&stream, patience).await.unwrap_or(false),
        };
        if !first {
            self.arrive();
            let Next::Write(pieces) = self.outbox.next().await else { return Ok(()) };
            for piece in pieces {
                within(self.write_deadline, stream.write_all(&piece)).await?;
                self.outbox.written(piece.len());
            }
            if self.outbox.is_over() {
                return Ok(());
            }
            if encryption.optional && !begins_handshake(&stream, encryption.timeout).await? {
                let (reader, writer) = stream.into_split();
                self.serve(reader, writer).await;
                return Ok(());
            }
        }
        let stream = encryption.accept(stream).await.inspect_err(|error| {
            tracing::error!("{} - cid:{} - TLS handshake error: {error}", self.address, self.id.0);
        })?;
        if first {
            self.arrive();
        }
        let (reader, writer) = tokio::io::split(stream);
        self.serve(reader, writer).await;
        Ok(())
    }

    async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        patience: Duration,
    ) -> io::Result<()> {
        let stream = within(patience, WebSocketBytes::accept(stream)).await?;
        self.arrive();
        let (reader, writer) = tokio::io::split(stream);
        self.serve(reader, writer).await;
        Ok(())
    }

    fn arrive(&self) {
        let (address, nonce) = (self.address.ip().to_string(), Some(identity::nonce()));
        self.inbox.push(Input::Connected { connection: self.id, address, nonce });
    }

    async fn serve(&self, reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) {
        connection::serve(self.id, reader, writer, &self.inbox, &self.outbox, self.write_deadline).await;
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether the first byte that arrives begins a handshake.
async fn begins_handshake(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    let mut first = [0];
    within(patience, stream.peek(&mut first)).await?;
    Ok(first == [HANDSHAKE])
}
