//! What a connection has not taken yet, and when it is over.

use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Shared by the shell, which fills it, and the connection's task, which empties it; both in one thread.
pub(super) struct Outbox {
    pieces: RefCell<VecDeque<Bytes>>,
    pending_bytes: Cell<usize>,
    pending_bytes_max: usize,
    state: Cell<State>,
    /// Something is there to write, or it is over.
    filled: Notify,
    /// What it sent was taken into a turn.
    turned: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// It ends once everything is written.
    Ending,
    /// It ends at once.
    Cut,
}

/// What a connection's task is to do.
pub(super) enum Next {
    /// Write these, in order.
    Write(VecDeque<Bytes>),
    /// Nothing more comes.
    End,
}

impl Outbox {
    pub(super) fn new(pending_bytes_max: usize) -> Self {
        Self {
            pieces: RefCell::default(),
            pending_bytes: Cell::new(0),
            pending_bytes_max,
            state: Cell::new(State::Open),
            filled: Notify::new(),
            turned: Notify::new(),
        }
    }

    /// Adds a piece. `false` when the connection takes too little: it is cut.
    pub(super) fn push(&self, piece: Bytes) -> bool {
        if self.state.get() != State::Open {
            return true;
        }
        let pending = self.pending_bytes.get() + piece.len();
        if pending > self.pending_bytes_max {
            self.cut();
            return false;
        }
        self.pending_bytes.set(pending);
        self.pieces.borrow_mut().push_back(piece);
        self.filled.notify_one();
        true
    }

    /// Nothing is added any more.
    pub(super) fn end(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Ending);
        }
        self.filled.notify_one();
        self.turned.notify_one();
    }

    /// What is there is dropped, and nothing is added any more.
    pub(super) fn cut(&self) {
        self.state.set(State::Cut);
        self.pieces.borrow_mut().clear();
        self.filled.notify_one();
        self.turned.notify_one();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.get() != State::Open
    }

    /// What it sent was taken into a turn: it may send more.
    pub(super) fn turn(&self) {
        self.turned.notify_one();
    }

    /// Waits until what it sent was taken into a turn.
    pub(super) async fn turned(&self) {
        self.turned.notified().await;
    }

    /// Waits until there is something to do.
    pub(super) async fn next(&self) -> Next {
        loop {
            let pieces = std::mem::take(&mut *self.pieces.borrow_mut());
            if !pieces.is_empty() {
                return Next::Write(pieces);
            }
            if self.is_over() {
                return Next::End;
            }
            self.filled.notified().await;
        }
    }

    /// So many bytes were written.
    pub(super) fn written(&self, bytes: usize) {
        self.pending_bytes.set(self.pending_bytes.get().saturating_sub(bytes));
    }
}
