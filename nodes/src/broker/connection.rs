//! One connection: what it sends becomes inputs, what is in its outbox is written.

use super::outbox::{Next, Outbox};
use super::shell::Inbox;
use bytes::{Buf, Bytes, BytesMut};
use cloudlysis_core::broker::RECEIVED_BYTES_MAX;
use cloudlysis_core::nats::ConnectionId;
use cloudlysis_core::nats::server::Input;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Pieces handed to the system at once.
const SLICES_MAX: usize = 64;

/// Serves a connection until one side ends it. `Connected` was said before, `Disconnected` is said after.
pub(super) async fn serve(
    id: ConnectionId,
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    inbox: &Inbox,
    outbox: &Outbox,
    write_deadline: Duration,
) {
    tokio::select! {
        () = receive(id, reader, inbox, outbox) => {
            // It may have said good-bye and still be listening for what it asked before.
            outbox.end();
            send(&mut writer, outbox, write_deadline).await;
        }
        () = send(&mut writer, outbox, write_deadline) => {}
    }
    outbox.cut();
    writer.shutdown().await.ok();
}

/// Reads until the other side ends, one read per turn.
async fn receive(id: ConnectionId, mut reader: impl AsyncRead + Unpin, inbox: &Inbox, outbox: &Outbox) {
    let mut buffer = BytesMut::new();
    while !outbox.is_over() {
        buffer.reserve(READ_BYTES);
        match (&mut reader).take(RECEIVED_BYTES_MAX as u64).read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let bytes = buffer.split().freeze();
        inbox.push(Input::Received { connection: id, bytes });
        outbox.turned().await;
    }
}

/// Room for one read.
const READ_BYTES: usize = 32 * 1024;

async fn send(writer: &mut (impl AsyncWrite + Unpin), outbox: &Outbox, write_deadline: Duration) {
    while let Next::Write(pieces) = outbox.next().await {
        match tokio::time::timeout(write_deadline, write(writer, pieces, outbox)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!("slow consumer: a client did not take what it was sent in time, and is cut");
                return;
            }
        }
    }
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    mut pieces: VecDeque<Bytes>,
    outbox: &Outbox,
) -> std::io::Result<()> {
    while !pieces.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(&pieces) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        let mut written = writer.write_vectored(&slices[..used]).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        outbox.written(written);
        while let Some(first) = pieces.front_mut().filter(|_| written > 0) {
            let taken = written.min(first.len());
            first.advance(taken);
            written -= taken;
            if first.is_empty() {
                pieces.pop_front();
            }
        }
    }
    writer.flush().await
}
