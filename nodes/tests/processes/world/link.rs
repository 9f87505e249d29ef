//! The way between nodes and their broker: bytes pass, or one direction is lost without anybody being told.
//!
//! ```text
//!  node ── up ──► link ── up ──► broker            up lost: what a node sends never arrives
//!       ◄─ down ──     ◄─ down ──                  down lost: it arrives, and the answer does not
//! ```
//!
//! A connection that lost bytes never passes any again, or both ends would read nonsense; whoever connects after it was
//! mended has a clean one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lost {
    /// From the nodes to the broker.
    Up,
    /// From the broker to the nodes.
    Down,
}

#[derive(Debug, Default)]
struct State {
    lost: Mutex<Option<Lost>>,
    /// How often it was mended: connections of an earlier count stay as they were.
    mended: AtomicU32,
}

impl State {
    fn lost(&self) -> Option<Lost> {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) url: String,
    state: Arc<State>,
}

impl Link {
    /// To a broker at `host:port`.
    pub(crate) async fn to(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State::default());
        let own = Self { url, state: Arc::clone(&state) };
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                let (state, broker) = (Arc::clone(&state), broker.clone());
                tokio::spawn(async move {
                    let Ok(broker) = TcpStream::connect(broker).await else { return };
                    let ((from_node, to_node), (from_broker, to_broker)) =
                        (node.into_split(), broker.into_split());
                    tokio::spawn(carry(from_node, to_broker, Lost::Up, Arc::clone(&state)));
                    carry(from_broker, to_node, Lost::Down, state).await;
                });
            }
        });
        own
    }

    /// From now on this direction is lost.
    pub(crate) fn lose(&self, direction: Lost) {
        *self.state.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(direction);
    }

    /// New connections lose nothing.
    pub(crate) fn mend(&self) {
        self.state.mended.fetch_add(1, Ordering::Relaxed);
        *self.state.lost.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, own: Lost, state: Arc<State>) {
    let age = state.mended.load(Ordering::Relaxed);
    let mut bytes = vec![0; 1 << 16];
    let mut whole = true;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        whole &= state.lost() != Some(own) && state.mended.load(Ordering::Relaxed) == age;
        if whole && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
