//! The circuit of an upstream: whether it is called, after it has failed to answer some times in a row.
//!
//! ```text
//! closed ── failures_max in a row ──► open ── pause over ──► half-open ── one call ── answered ──► closed
//!                                      ▲                                     │
//!                                      └────────── failed: a longer pause ───┘
//! ```
//!
//! A failure is a call without an answer, one that could not be made now, and an answer that says "not now". Any other
//! answer closes the circuit, also that of a call which began before it opened. Such a call's failure changes nothing.
//!
//! Pauses double from `pause_ms` to `pause_ms_max`. All of it is lost with the life, on purpose: a new one finds out anew.

use crate::outcome::Token;
use crate::time::Mono;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CircuitLimits {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// The first pause, in milliseconds.
    pub pause_ms: u64,
    /// The longest pause, in milliseconds.
    pub pause_ms_max: u64,
}

/// What a circuit lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Every call.
    Closed,
    /// One call, to see.
    HalfOpen,
    /// No call.
    Open,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Circuit {
    state: State,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        since: Token,
        pauses: u32,
        until: Mono,
    },
    HalfOpen {
        since: Token,
        pauses: u32,
        /// The call that is to show how things are, once one has begun.
        probe: Option<Token>,
    },
}

impl Circuit {
    pub(super) const fn new() -> Self {
        Self { state: State::Closed { failures: 0 } }
    }

    pub(super) const fn standing(&self) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::HalfOpen { .. } => Standing::HalfOpen,
            State::Open { .. } => Standing::Open,
        }
    }

    /// The last call that began before it opened, while it has not closed again.
    pub(super) const fn since(&self) -> Option<Token> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } | State::HalfOpen { since, .. } => Some(since),
        }
    }

    /// When its pause is over.
    pub(super) const fn until(&self) -> Option<Mono> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Time has passed; whether its pause is over now.
    pub(super) fn wake(&mut self, now: Mono) -> bool {
        match self.state {
            State::Open { since, pauses, until } if until <= now => {
                self.state = State::HalfOpen { since, pauses, probe: None };
                true
            }
            State::Open { .. } | State::Closed { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// Whether a call may begin.
    pub(super) const fn admits(&self) -> bool {
        matches!(self.state, State::Closed { .. } | State::HalfOpen { probe: None, .. })
    }

    /// Whether it waits for a call to begin that shows how things are.
    pub(super) const fn wants_probe(&self) -> bool {
        matches!(self.state, State::HalfOpen { probe: None, .. })
    }

    /// A call began; whether it is the one to show how things are.
    pub(super) const fn called(&mut self, token: Token) -> bool {
        if let State::HalfOpen { probe: probe @ None, .. } = &mut self.state {
            *probe = Some(token);
            return true;
        }
        false
    }

    /// The upstream answered; whether that closed the circuit.
    pub(super) fn answered(&mut self) -> bool {
        let was = self.standing();
        self.state = State::Closed { failures: 0 };
        was != Standing::Closed
    }

    /// A call failed; whether that opened the circuit. `last` is the last call that began.
    pub(super) fn failed(&mut self, now: Mono, token: Token, last: Token, limits: CircuitLimits) -> bool {
        let (since, pauses) = match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures < limits.failures_max {
                    return false;
                }
                (last, 1)
            }
            State::HalfOpen { since, pauses, probe } if *probe == Some(token) => (*since, *pauses + 1),
            State::Open { .. } | State::HalfOpen { .. } => return false,
        };
        let doubled = limits.pause_ms.saturating_mul(1 << (pauses - 1).min(32));
        self.state = State::Open { since, pauses, until: now.plus_ms(doubled.min(limits.pause_ms_max)) };
        true
    }

    /// A call was not made after all, and says nothing about the upstream.
    pub(super) fn not_made(&mut self, token: Token) {
        if let State::HalfOpen { probe, .. } = &mut self.state
            && *probe == Some(token)
        {
            *probe = None;
        }
    }
}
