//! The broker: JetStream as a machine, with streams of every retention and durable pull consumers.
//!
//! ```text
//!  Published ─► admit ─► stored in the log ─► removed by a limit, an age, a purge, a delete, the last ack it waits for
//!                │            │
//!                │            ▼ Signalled            ┌────────────── ack wait over, NAK ──────────────┐
//!                │      consumer: never delivered ─► pending ─► settled (ACK, TERM, removed)          │
//!                ▼            ▲                       ▲  └─► redelivery queue ◄────────────────────────┘
//!            duplicate        └─ Pulled: waiting ─────┘          └─► exhausted (max_deliver): left in the stream
//!            or refused                pulls, in turn
//! ```
//!
//! It answers what the real server answers (`nats-server` 2.15.1, R1 streams): the same error numbers, statuses,
//! counts and byte totals. Streams of three and more replicas are one log here too, but check a publish in the order in
//! which a cluster does: a retried publish is a *duplicate* there and a *wrong last sequence* on a stream of one.
//!
//! | what | how long it lasts |
//! |---|---|
//! | messages; configurations, creation times, last sequences | durable with the turn that answers for them; a memory stream and everything of it is lost |
//! | a consumer's position, unsettled deliveries, counts | durable as of its last flush, `flush_gap_ms` late: a crash rolls it back, acks and delivery counts included, exactly as on the real server |
//! | indexes by subject, message ids younger than the window | derived on recovery from the stored messages: the id of a removed message is forgotten |
//! | waiting pulls, heartbeats, the queue of redeliveries, open batches | lost on purpose; clients ask again |
//!
//! - INV-BRK-1: an acknowledged message is stored, once, until something is allowed to remove it. Sequences never go
//!   back; counts and bytes are those of the messages; a remembered id names a sequence that was given.
//! - INV-BRK-2: a consumer delivers what matches, in order, and again until it is settled. What is pending is delivered
//!   and still stored; the floor is below everything pending; what was never delivered is counted exactly.
//!
//! Time: age and message ids go by the wall clock, as they are persisted; ack wait, pulls and heartbeats by the
//! monotonic one. The machine learns the clocks from its first input after recovery, and asks for that one at once.
//!
//! Limits: [`Limits`]. A publish costs one filter match per consumer of its stream and a few tree operations; a delivery
//! and an ack a few tree operations, unless it removes the message: then it looks at every consumer of the stream. A
//! purge, a delete of a stream and a lowered limit cost what they remove.
//!
//! Archives are written and read a piece at a time: see `archives`.
//!
//! Not here: JSON, sockets, subscriptions (an adapter reports an inbox without subscriber as
//! [`Input::Abandoned`]); replication.

mod ack;
mod admit;
pub mod advisory;
mod alarm;
pub mod api;
mod archive;
mod archives;
mod batch;
mod capture;
mod consumer;
mod consumer_config;
mod consumer_requests;
mod counter;
mod dedupe;
mod deliver;
mod direct;
mod directives;
mod duration;
mod effect;
mod error;
mod expiry;
mod fault;
mod groups;
mod invariants;
mod keep;
mod listing;
mod log;
mod look;
mod message_requests;
mod moment;
mod nuid;
mod publish;
mod pull;
mod pull_status;
mod push;
mod record;
mod recover;
mod remove;
mod requests;
mod restore;
mod retention;
mod rules;
mod schedule;
mod schedules;
mod snapshot;
mod stream;
mod stream_config;
mod stream_requests;
#[cfg(test)]
mod tests;
mod tick;
mod tidings;
mod transform;
mod upstream;

pub use ack::{AckKind, AckSubject};
pub(crate) use consumer_config::check_moment;
pub use direct::{DirectMessage, DirectPlace, DirectStatus};
pub use effect::{Delivery, Effect, StoredMessage};
pub use expiry::Life as MessageLife;
pub use fault::Fault;
pub use listing::API_LEVEL;
pub use log::Meta as MessageMeta;
pub use publish::Publish;
pub use pull_status::{PullStatus, Unserved};
pub use record::{ConsumerState, PendingState};
pub use recover::{DurableConsumer, DurableState, DurableStream};
pub use requests::{Answer, ConsumerAction, MessageBy, Request};
pub use schedules::Scheduled;
pub use snapshot::{SnapshotEnd, SnapshotRequest};
pub use upstream::Position as SourcePosition;

use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::store::View;
use crate::time::{Mono, Now};
use alarm::{Alarms, Owner};
use api::{AccountApi, PullRequest};
use archives::Archives;
use bytes::Bytes;
use capture::Captures;
use nuid::Nuid;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use stream::Stream;

/// Bounds of a broker. Streams and consumers bring their own on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most streams.
    pub streams_max: usize,
    /// Most replicas of one stream.
    pub replicas_max: u8,
    /// Most consumers of one stream.
    pub consumers_per_stream_max: usize,
    /// Most messages of one stream; beyond, publishes are refused as out of resources.
    pub messages_per_stream_max: usize,
    /// Most message ids remembered for one stream; beyond, publishes with an id are refused as out of resources.
    pub message_ids_per_stream_max: usize,
    /// Largest message, headers and payload, in bytes.
    pub message_bytes_max: usize,
    /// Most unsettled deliveries of a consumer that asks for any number.
    pub ack_pending_max: usize,
    /// Most pull requests waiting at one consumer, whatever it asks for.
    pub waiting_max: usize,
    /// Most messages one pull may ask for: what consumers are given that do not say it, and the most they may say.
    pub request_batch_max: Option<u64>,
    /// Most deliveries in one step; the rest follows in the next turn.
    pub deliveries_per_step_max: usize,
    /// Most messages removed for their age in one step; the rest follows in the next turn.
    pub expiries_per_step_max: usize,
    /// How long after a change a consumer's state is written, in milliseconds: what a crash may roll back. The real
    /// server leaves at least 100 ms between two writes.
    pub flush_gap_ms: u64,
}

/// Facts the broker answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A client published a message.
    Published(Publish),
    /// A client asked the API.
    Requested {
        /// Where the answer goes.
        reply: String,
        /// What it asked.
        request: Request,
    },
    /// A client asked a consumer for messages.
    Pulled {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// Where messages and statuses go.
        inbox: String,
        /// How many, how long, how large.
        request: PullRequest,
    },
    /// A client answered a delivery.
    Acked {
        /// Which delivery.
        delivery: AckSubject,
        /// What it said.
        kind: AckKind,
        /// Where the broker confirms that it has processed this, if somebody waits for it.
        reply: Option<String>,
    },
    /// Nobody listens on this subject any more: pulls of such an inbox are dropped without a word, a push consumer that
    /// delivers there stops.
    Abandoned {
        /// The inbox or the deliver subject.
        inbox: String,
    },
    /// Somebody listens on a deliver subject: its consumers deliver. Of a subject nobody delivers on, only the last one is
    /// remembered: it counts for a consumer that is created next.
    InterestGained {
        /// The deliver subject.
        subject: String,
        /// As a member of this queue group, if of any.
        group: Option<String>,
    },
    /// Nobody listens on a deliver subject any more as a member of a queue group, or of none: consumers for those stop.
    InterestLost {
        /// The deliver subject.
        subject: String,
        /// The queue group, if it is about one.
        group: Option<String>,
    },
    /// A client confirmed what a push consumer sent it, on `$JS.FC.<stream>.<consumer>.<token>`.
    FlowControlled {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What it was asked with.
        token: String,
    },
    /// A client has a chunk of a snapshot, on `$JS.SNAPSHOT.ACK.<stream>.<snapshot>.<bytes>.<chunk>`.
    SnapshotAcked {
        /// The snapshot.
        snapshot: String,
        /// Where nobody is, if there is no such snapshot.
        reply: Option<String>,
    },
    /// A client sent a piece of an archive, on `$JS.SNAPSHOT.RESTORE.<stream>.<restore>`.
    RestoreChunk {
        /// The restore.
        restore: String,
        /// Where the piece is acknowledged.
        reply: Option<String>,
        /// The piece; when it is empty, that was all.
        payload: Bytes,
    },
    /// Archives are to be written on, or read on. The broker tells itself, so that what a step before stored is there.
    ArchivesDue,
    /// Consumers have something to do. The broker tells itself, so that a message is read back only after the step
    /// that stored it; from anybody else it changes nothing.
    Signalled,
    /// Streams have something to copy from others. The broker tells itself, for the same reason.
    CopiesDue,
    /// The process is about to stop in good order: consumer states are written now and waiting pulls told.
    Stopping,
    /// Something happened that a real cluster does on its own.
    Faulted(Fault),
    /// Time has passed.
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

/// What the broker waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// To learn the clocks, just after recovery.
    Waking,
    /// There is more to deliver than one step may.
    Delivery,
    /// There is more to copy than one step may.
    Copying,
    /// There is more to archive or to restore than one step may, or the client of an archive is silent.
    Archiving,
    /// A delivery was not settled in time.
    AckWait,
    /// A pull request ends.
    PullExpiry,
    /// A pull request or a push consumer has been silent for its heartbeat.
    Heartbeat,
    /// A consumer may send again, by its rate or by the time that passed when its messages were published.
    Pacing,
    /// A pause ends.
    PauseEnd,
    /// A pinned client has not pulled for its timeout.
    PinExpiry,
    /// The state of a consumer is written.
    ConsumerFlush,
    /// A consumer was not used for its threshold.
    Inactivity,
    /// The first message of a stream is as old as it may become.
    MaxAge,
    /// A message has lived as long as it wanted to.
    MessageTtl,
    /// A schedule is due.
    Schedule,
    /// A batch goes on, or is abandoned.
    BatchIdle,
    /// The oldest message id leaves the duplicate window.
    DuplicateWindow,
}

/// Names one consumer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ConsumerKey {
    stream: Arc<str>,
    consumer: Arc<str>,
}

/// The broker.
#[derive(Clone, PartialEq, Debug)]
pub struct JetStream {
    limits: Limits,
    /// The clocks of the last input; lost, and `None` until the first one.
    clock: Option<Now>,
    /// The last creation time given, in nanoseconds since 1970; lost. Two assets of one life never share one.
    created_last_ns: u64,
    /// Lost.
    nuid: Nuid,
    /// Durable and derived: see [`Stream`].
    streams: BTreeMap<Arc<str>, Stream>,
    /// Which of them captures a subject; derived.
    captures: Captures,
    /// Push consumers by deliver subject; derived.
    deliver_subjects: BTreeMap<Arc<str>, BTreeSet<ConsumerKey>>,
    /// Somebody listens there, and nobody delivers yet; lost.
    heard_of: Option<(String, Option<String>)>,
    /// Consumers with something to do, in the order in which they were signalled; lost.
    ready: VecDeque<ConsumerKey>,
    /// When whom to wake; derived.
    alarms: Alarms,
    /// What was asked in this life; lost.
    api: AccountApi,
    /// Which streams copy from a stream; derived.
    copiers: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Streams that may have something to copy; lost.
    copying: BTreeSet<Arc<str>>,
    /// Snapshots and restores under way; lost.
    archives: Archives,
}

impl Machine for JetStream {
    type Config = Limits;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = DurableState;

    fn recover(limits: Limits, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        Self::from_tables(limits, incarnation, view)
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        self.wake(now);
        match input {
            Input::Published(publish) => self.on_published(now, publish, cx)?,
            Input::Requested { reply, request } => self.on_requested(now, reply, request, cx)?,
            Input::Pulled { stream, consumer, inbox, request } => {
                self.on_pulled(now, &stream, &consumer, inbox, &request, cx);
            }
            Input::Acked { delivery, kind, reply } => self.on_acked(now, &delivery, &kind, reply, cx),
            Input::Abandoned { inbox } => self.on_abandoned(now, &inbox),
            Input::InterestGained { subject, group } => self.on_interest_gained(now, subject, group),
            Input::InterestLost { subject, group } => self.on_interest_lost(now, &subject, group.as_deref()),
            Input::FlowControlled { stream, consumer, token } => {
                self.on_flow_controlled(now, &stream, &consumer, &token);
            }
            Input::Stopping => self.on_stopping(now, cx),
            Input::Faulted(fault) => self.on_faulted(now, &fault, cx)?,
            Input::Tick(Tick) => self.on_tick(now, cx)?,
            Input::Signalled => return self.on_signalled(now, cx),
            Input::SnapshotAcked { snapshot, reply } => self.on_snapshot_acked(snapshot, reply, cx),
            Input::RestoreChunk { restore, reply, payload } => {
                self.on_restore_chunk(now, &restore, reply, payload, cx);
            }
            Input::ArchivesDue => return self.on_archives_due(now, cx),
            Input::CopiesDue => {
                self.on_copies_due(now, cx)?;
                if !self.ready.is_empty() {
                    cx.then(Input::Signalled);
                }
                return Ok(());
            }
        }
        if self.archives.is_due() {
            cx.then(Input::ArchivesDue);
        }
        if !self.copying.is_empty() {
            cx.then(Input::CopiesDue);
        }
        if !self.ready.is_empty() {
            cx.then(Input::Signalled);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        let Some(clock) = self.clock else { return Some((Mono::ZERO, Timer::Waking)) };
        if !self.ready.is_empty() {
            return Some((clock.mono, Timer::Delivery));
        }
        if !self.copying.is_empty() {
            return Some((clock.mono, Timer::Copying));
        }
        if self.archives.is_due() {
            return Some((clock.mono, Timer::Archiving));
        }
        self.alarms.first()
    }

    fn durable(&self) -> DurableState {
        self.durable_state()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.check_invariants(view)
    }
}

impl JetStream {
    /// Turns recovered states into live ones once the clocks are known, and keeps the clocks.
    fn wake(&mut self, now: Now) {
        if self.clock.replace(now).is_some() {
            return;
        }
        self.nuid.wake(now.wall);
        for stream in self.streams.values_mut() {
            stream.ids.trim(now.wall, stream.config.duplicate_window_ns);
            for consumer in stream.consumers.values_mut() {
                consumer.restore(now, &stream.log);
            }
        }
        for name in self.streams.keys().cloned().collect::<Vec<_>>() {
            self.arm_stream_and_consumers(now, &name);
        }
        self.connect_copiers();
    }

    /// Lets a consumer be served in the next step, if anybody waits there.
    fn signal(&mut self, stream: &Arc<str>, consumer: &Arc<str>) {
        let Some(own) = self.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(consumer))
        else {
            return;
        };
        if !own.signalled && own.is_asked() {
            own.signalled = true;
            self.ready.push_back(ConsumerKey { stream: stream.clone(), consumer: consumer.clone() });
        }
    }

    fn arm_stream(&mut self, now: Now, name: &Arc<str>) {
        let due = self.streams.get(name).and_then(|stream| stream.next_due(now));
        self.alarms.set(Owner::Stream(name.clone()), due);
    }

    /// Sets a consumer's alarm; if it changed, it will be written after the flush gap.
    fn arm_consumer(&mut self, now: Now, stream: &Arc<str>, consumer: &Arc<str>) {
        let flush_at = now.mono.plus_ms(self.limits.flush_gap_ms);
        let Some((_, _, own)) = self.consumer_mut(stream, consumer) else { return };
        if own.changed && own.flush_due.is_none() {
            own.flush_due = Some(flush_at);
        }
        let due = own.next_due();
        let key = ConsumerKey { stream: stream.clone(), consumer: consumer.clone() };
        self.alarms.set(Owner::Consumer(key), due);
    }

    /// After something that may have touched every consumer of a stream.
    fn arm_stream_and_consumers(&mut self, now: Now, name: &Arc<str>) {
        self.arm_stream(now, name);
        let Some(stream) = self.streams.get(name) else { return };
        for consumer in stream.consumers.keys().cloned().collect::<Vec<_>>() {
            self.arm_consumer(now, name, &consumer);
        }
    }

    /// A creation time, in nanoseconds since 1970, that no other asset of this life has.
    fn created_ns(&mut self, now: Now) -> u64 {
        let at = now.wall.as_ms() * 1_000_000 + now.mono.as_ns() % 1_000_000;
        self.created_last_ns = at.max(self.created_last_ns + 1);
        self.created_last_ns
    }
}

fn no_responders(to: Option<String>, subject: impl FnOnce() -> String, cx: &mut Cx<'_, Input, Effect>) {
    if let Some(to) = to {
        cx.emit(Effect::Reply { to, answer: Answer::NoResponders { subject: subject() } });
    }
}
