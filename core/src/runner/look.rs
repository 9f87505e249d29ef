//! What may be seen of a runner: its parts, whether it is ready, what is left while it drains.

use super::{Runner, Source};
use crate::drain::Left;
use crate::effect::Effects;
use crate::gate::{Gate, Standing};
use crate::outbox::Outbox;
use crate::quarantine::Quarantine;
use crate::schedule::Schedule;
use crate::schedule::recurring::Recurring;

impl Runner {
    /// Where each gate stands.
    pub fn gates(&self) -> impl Iterator<Item = (&Source, &Gate)> {
        self.gates.iter()
    }

    /// The outbox, to look at.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The effects, to look at.
    #[must_use]
    pub const fn effects(&self) -> &Effects {
        &self.effects
    }

    /// The timers, to look at.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The schedules, to look at.
    #[must_use]
    pub const fn recurring(&self) -> &Recurring {
        &self.recurring
    }

    /// What is held back.
    #[must_use]
    pub const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Why it is not ready; empty when it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.drain.is_stopping() {
            reasons.push("draining".to_owned());
        }
        for (source, gate) in &self.gates {
            let stream = source.stream();
            match gate.standing() {
                Standing::Bound | Standing::Stopped => {}
                Standing::NoStream => reasons.push(format!("{stream}: stream_missing")),
                Standing::Unbound => reasons.push(format!("{stream}: consumer_unbound")),
            }
        }
        reasons
    }

    pub(super) fn left(&self) -> Left {
        Left { in_flight: self.outbox.in_flight() + self.effects.in_flight(), waiting: self.outbox.depth() }
    }
}
