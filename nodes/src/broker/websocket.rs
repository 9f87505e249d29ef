//! A WebSocket connection as a stream of bytes.
//!
//! Where a frame begins and ends means nothing, as on the real server: an operation may be split over frames, and a frame
//! may hold several. Any path is served; nothing is compressed.
//!
//! - Limits: one frame, see [`FRAME_BYTES_MAX`]; what is written leaves in frames of at most `WRITE_BYTES_MAX`.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longest frame or message of a client: what the largest payload that can be configured needs, and its control line.
pub const FRAME_BYTES_MAX: usize = 65 * 1024 * 1024;
/// Longest frame that is written.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Bytes behind a WebSocket.
#[derive(Debug)]
pub struct WebSocketBytes<S> {
    frames: WebSocketStream<S>,
    /// What of the last frame was not read yet.
    unread: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<S> {
    /// Answers the HTTP request that asks for a WebSocket.
    ///
    /// # Errors
    /// When it does not ask for one, or the connection fails.
    pub async fn accept(stream: S) -> io::Result<Self> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await;
        Ok(Self { frames: accepted.map_err(fault)?, unread: Bytes::new() })
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: Bytes) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.frames).poll_ready(cx)).map_err(fault)?;
        let written = bytes.len();
        Pin::new(&mut self.frames).start_send(Message::Binary(bytes)).map_err(fault)?;
        Poll::Ready(Ok(written))
    }
}

fn fault(error: Error) -> io::Error {
    io::Error::other(error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        while own.unread.is_empty() {
            match ready!(Pin::new(&mut own.frames).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => own.unread = bytes,
                Some(Ok(Message::Text(text))) => own.unread = text.into(),
                // Pings are answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(fault(error))),
            }
        }
        let taken = own.unread.len().min(buf.remaining());
        buf.put_slice(&own.unread[..taken]);
        own.unread.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = buf.len().min(WRITE_BYTES_MAX);
        self.get_mut().write(cx, Bytes::copy_from_slice(&buf[..taken]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = BytesMut::new();
        for slice in slices {
            let room = WRITE_BYTES_MAX - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.get_mut().write(cx, bytes.freeze())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().frames).poll_flush(cx).map_err(fault)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.get_mut().frames).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(fault(error))),
        }
    }
}
