//! Clocks of one process: monotonic time since it was started, and a wall clock that may jump either way.

use cloudlysis_core::{Mono, Now, Wall};

/// When the simulated world begins, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// The clocks of one life of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    started_ns: u64,
    wall_offset_ms: i64,
}

impl Clock {
    /// Started at this moment of the world, with a wall clock that is off by so much.
    #[must_use]
    pub const fn started(at_ns: u64, wall_offset_ms: i64) -> Self {
        Self { started_ns: at_ns, wall_offset_ms }
    }

    /// Moves the wall clock.
    pub const fn jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// How far the wall clock is off.
    #[must_use]
    pub const fn wall_offset_ms(&self) -> i64 {
        self.wall_offset_ms
    }

    /// Both clocks at a moment of the world.
    #[must_use]
    pub const fn now(&self, world_ns: u64) -> Now {
        let wall_ms = (EPOCH_MS + world_ns / 1_000_000).saturating_add_signed(self.wall_offset_ms);
        Now { mono: Mono::from_ns(world_ns.saturating_sub(self.started_ns)), wall: Wall::from_ms(wall_ms) }
    }

    /// The moment of the world at which the monotonic clock shows this.
    #[must_use]
    pub const fn world_ns(&self, mono: Mono) -> u64 {
        self.started_ns.saturating_add(mono.as_ns())
    }
}
