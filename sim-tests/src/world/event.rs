//! What can happen in the world, as data.

use crate::world::clients::Step;
use crate::world::placement::Placing;
use crate::world::scripted::Act;
use cloudlysis_core::Outcome;
use cloudlysis_core::Token;
use cloudlysis_core::aggregate::Reply;
use cloudlysis_core::effect::{Answered, NotSent};
use cloudlysis_core::jetstream;
use cloudlysis_core::manifest::EffectRequest;
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::wire::stream::PlatformStream;
use std::fmt;

/// Most aggregate nodes at once.
pub const AGGREGATES_MAX: u8 = 2;

/// A node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NodeId {
    /// One of the aggregate nodes.
    Aggregate(u8),
    /// The projection node.
    Projection,
    /// The runner, or the half of it that has the sagas.
    Runner,
    /// The half of the runner that has the effects, when it is a process of its own.
    Effects,
    /// A second runner with a disk of its own, which somebody starts beside the first.
    Stranger,
}

impl NodeId {
    /// Its number in reply subjects.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Aggregate(number) => number,
            Self::Projection => AGGREGATES_MAX,
            Self::Runner => AGGREGATES_MAX + 1,
            Self::Effects => AGGREGATES_MAX + 2,
            Self::Stranger => AGGREGATES_MAX + 3,
        }
    }

    /// Whether it is a runner that owns what it reads.
    #[must_use]
    pub const fn is_runner(self) -> bool {
        match self {
            Self::Runner | Self::Effects => true,
            Self::Aggregate(_) | Self::Projection | Self::Stranger => false,
        }
    }

    /// The node with this number.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0..AGGREGATES_MAX => Some(Self::Aggregate(number)),
            AGGREGATES_MAX => Some(Self::Projection),
            3 => Some(Self::Runner),
            4 => Some(Self::Effects),
            5 => Some(Self::Stranger),
            6.. => None,
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregate(number) => write!(f, "aggregate{number}"),
            Self::Projection => f.write_str("projection"),
            Self::Runner => f.write_str("runner"),
            Self::Effects => f.write_str("effects"),
            Self::Stranger => f.write_str("stranger"),
        }
    }
}

/// Who waits for the answer to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// A client, in one of its attempts.
    Client {
        /// Which command.
        call: u64,
        /// Which attempt.
        attempt: u32,
    },
    /// The runner's outbox.
    Runner {
        /// Which life of the process.
        life: u64,
        /// Which attempt.
        token: Token,
    },
}

/// What becomes of a call that reaches a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallFate {
    /// It is answered.
    Answered,
    /// It is answered with 503, and nothing was done.
    Unavailable,
    /// It was done, and the answer is a 500.
    FailsAfterwards,
    /// It was done, and the answer is lost.
    AnswerLost,
    /// It was done, and the answer comes when nobody waits for it any more.
    Late,
}

/// Something that happens at a moment of the world.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node has something to do.
    Turn(NodeId),
    /// A node's process starts.
    NodeStarted(NodeId),
    /// A process that has reported its drain ends.
    DrainedEnded {
        /// Which.
        node: NodeId,
        /// Which life of it.
        life: u64,
    },
    /// A script has something happen.
    Scripted(Act),
    /// Tenants get another place.
    Placing(Placing),
    /// A node reaches the broker again.
    Reconnected {
        /// Which.
        node: NodeId,
        /// The connection it had before the one it lost.
        connection: u64,
    },
    /// The broker has something to do.
    BrokerTurn,
    /// The broker's process starts.
    BrokerStarted,
    /// What became of publishes that waited for their quorum is decided.
    QuorumDecided(PlatformStream),
    /// Something reaches the broker.
    ToBroker {
        /// From whom; nobody for operators.
        node: Option<NodeId>,
        /// Which life of the broker it was sent to.
        life: u64,
        /// What.
        input: Box<jetstream::Input>,
    },
    /// Something of the broker reaches a node.
    FromBroker {
        /// Which.
        node: NodeId,
        /// On which connection.
        connection: u64,
        /// What.
        effect: Box<jetstream::Effect>,
    },
    /// A node waits no longer for an answer of the broker.
    RequestTimedOut {
        /// Which.
        node: NodeId,
        /// On which connection.
        connection: u64,
        /// Which conversation.
        conversation: u64,
    },
    /// A command reaches an aggregate node.
    Submitted {
        /// Who waits.
        caller: Caller,
        /// Where.
        target: NodeId,
        /// What.
        command: Box<Command>,
    },
    /// The answer to a command reaches whoever waits for it; none when the connection broke.
    Replied {
        /// Who waits.
        caller: Caller,
        /// What.
        reply: Option<Box<Reply>>,
    },
    /// Whoever waits for the answer to a command waits no longer.
    SubmitTimedOut(Caller),
    /// A call reaches a service.
    CallArrived {
        /// Which life of the runner made it.
        life: u64,
        /// Which attempt.
        token: Token,
        /// Its key.
        key: String,
        /// The request.
        request: Box<EffectRequest>,
        /// What becomes of it.
        fate: CallFate,
        /// How long the runner waits, in milliseconds.
        timeout_ms: u64,
    },
    /// The end of a call reaches the runner.
    CallReturned {
        /// Which life of the runner made it.
        life: u64,
        /// Which attempt.
        token: Token,
        /// How it ended.
        outcome: Outcome<Answered, NotSent>,
    },
    /// A client does something.
    Client(Step),
    /// A client tries a command again.
    ClientRetried {
        /// Which command.
        call: u64,
    },
    /// An operator does something.
    Operated,
    /// An operator does something with what is held back.
    Warded,
    /// An operator does something with a schedule.
    TimeKept,
    /// An operator does something with an effect.
    Amended,
    /// Somebody starts a second runner.
    StrangerCame,
    /// The disaster begins.
    Struck,
    /// The log becomes another one.
    Rewritten,
    /// Everybody had time to notice.
    Judged,
    /// Faults end.
    Healed,
    /// Somebody looks whether everything has come to an end.
    Looked,
}
