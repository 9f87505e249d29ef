//! The broker's process: the core's JetStream engine, its disk, and its crashes.
//!
//! Every request is one turn. A crash forgets what the engine loses on purpose (waiting pulls, consumer state since the
//! last flush); a restart recovers it from its rows like any other machine.

use crate::clock::Clock;
use crate::store::{Committed, SimStore};
use cloudlysis_core::jetstream::{Effect, Input, JetStream, Limits, StoredMessage};
use cloudlysis_core::{Checks, Driver, Halt, Mono, Quirks};
use std::ops::ControlFlow;

/// Bounds that no simulated world reaches.
const LIMITS: Limits = Limits {
    streams_max: 64,
    replicas_max: 5,
    consumers_per_stream_max: 256,
    messages_per_stream_max: 1 << 20,
    message_ids_per_stream_max: 1 << 20,
    message_bytes_max: 1 << 20,
    ack_pending_max: 1 << 16,
    waiting_max: 512,
    request_batch_max: None,
    deliveries_per_step_max: 64,
    expiries_per_step_max: 256,
    flush_gap_ms: 100,
};

/// A broker's process and disk.
#[derive(Clone, Debug)]
pub struct Broker {
    store: SimStore,
    life: Option<(Driver<JetStream>, Clock)>,
    /// How far its wall clock is off, in milliseconds.
    wall_offset_ms: i64,
}

impl Broker {
    /// A broker that was started at this moment of the world.
    ///
    /// # Errors
    /// Never with an empty disk; the engine's own invariants otherwise.
    pub fn start(world_ns: u64) -> Result<Self, Halt> {
        let mut broker = Self { store: SimStore::default(), life: None, wall_offset_ms: 0 };
        broker.restart(world_ns)?;
        Ok(broker)
    }

    /// Whether the process is there.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// The process dies.
    pub fn crash(&mut self) {
        self.life = None;
    }

    /// The process starts again on its disk.
    ///
    /// # Errors
    /// The engine's own invariants.
    pub fn restart(&mut self, world_ns: u64) -> Result<(), Halt> {
        let driver = Driver::recover(LIMITS, &mut self.store, Checks::EveryTurn, Quirks::NONE)?;
        self.life = Some((driver, Clock::started(world_ns, self.wall_offset_ms)));
        self.store.take_changes();
        Ok(())
    }

    /// Its wall clock jumps.
    pub const fn jump_clock(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
        if let Some((_, clock)) = &mut self.life {
            clock.jump(by_ms);
        }
    }

    /// One fact, and what the broker sends because of it; nothing while it is down.
    ///
    /// # Errors
    /// The engine's own invariants.
    pub fn handle(&mut self, world_ns: u64, input: Input) -> Result<Vec<Effect>, Halt> {
        let Some((driver, clock)) = &mut self.life else { return Ok(Vec::new()) };
        let released = driver.turn(&mut self.store, clock.now(world_ns), [input])?;
        self.store.take_changes();
        Ok(released.into_effects())
    }

    /// When it next wants a tick, as a moment of the world.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let (driver, clock) = self.life.as_ref()?;
        driver.deadline().map(|(at, _)| if at == Mono::ZERO { 0 } else { clock.world_ns(at) })
    }

    /// The engine, to look at.
    #[must_use]
    pub fn engine(&self) -> Option<&JetStream> {
        self.life.as_ref().map(|(driver, _)| driver.machine())
    }

    /// The disk, to look at.
    #[must_use]
    pub fn disk(&self) -> Committed<'_> {
        self.store.committed()
    }

    /// The true log of a stream from a sequence on.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn log(&self, stream: &str, from_seq: u64) -> Result<Vec<StoredMessage>, Halt> {
        let mut out = Vec::new();
        JetStream::log(&self.disk(), stream, from_seq, &mut |message| {
            out.push(message);
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }
}
