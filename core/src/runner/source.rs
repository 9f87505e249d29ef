//! The streams a runner reads.

use crate::wire::stream::{ConsumerRole, PlatformStream};

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
