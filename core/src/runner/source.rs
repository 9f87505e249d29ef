//! Which streams a runner reads: all of them, or those of one half of its work.
//!
//! ```text
//!              AGGREGATE_EVENTS  WORKFLOW_EVENTS  WORKFLOW_COMMANDS
//! combined            ●                ●                 ●
//! sagas               ●                ●                 ○ published
//! effects                              ○ published       ●
//! ```
//!
//! The halves may be two processes, each with a store of its own: what passes between them passes the broker. Only a
//! combined runner can keep an effect inside its commit, so only it has a choice.

use crate::saga::HandOver;
use crate::wire::stream::{ConsumerRole, PlatformStream};

/// What a runner does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Sagas and effects.
    Combined(HandOver),
    /// Sagas; their effects are messages for another runner.
    Sagas,
    /// Effects; whoever asked for them learns the results from messages.
    Effects,
}

impl Mode {
    /// The streams it reads.
    #[must_use]
    pub const fn sources(self) -> &'static [Source] {
        match self {
            Self::Combined(_) => &Source::ALL,
            Self::Sagas => &[Source::Events, Source::Results],
            Self::Effects => &[Source::Commands],
        }
    }

    /// How its sagas hand effects over.
    #[must_use]
    pub const fn hand_over(self) -> HandOver {
        match self {
            Self::Combined(way) => way,
            Self::Sagas | Self::Effects => HandOver::Broker,
        }
    }
}

/// The streams a runner reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// Aggregate events, for sagas.
    Events,
    /// Effect results, for sagas.
    Results,
    /// Effect commands, for effects.
    Commands,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Events, Self::Results, Self::Commands];

    /// The stream behind it.
    #[must_use]
    pub const fn stream(self) -> PlatformStream {
        match self {
            Self::Events => PlatformStream::AggregateEvents,
            Self::Results => PlatformStream::WorkflowEvents,
            Self::Commands => PlatformStream::WorkflowCommands,
        }
    }

    pub(super) const fn role(self) -> ConsumerRole {
        match self {
            Self::Events => ConsumerRole::SagaEvents,
            Self::Results => ConsumerRole::SagaResults,
            Self::Commands => ConsumerRole::EffectCommands,
        }
    }
}
