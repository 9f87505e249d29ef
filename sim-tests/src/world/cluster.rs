//! What a cluster and its servers do on their own: leaders that go, quorums that are slow, servers that stop in good order.
//!
//! | fault (`reference/jetstream.md` 4.7) | here |
//! |---|---|
//! | `leader_change(stream)` | nobody serves a stream for a while: 503 or silence for publishes, reads and acks; its pulls die |
//! | `leader_change(consumer)` | `Fault::PullsLost`, in [`nemesis`](super::nemesis) |
//! | `consumer_ahead_of_stream` | with a new leader, a consumer that believes it delivered what it never did |
//! | `pub_10158`, `pub_10164` | a publish waits for its quorum; those like it are refused meanwhile; then it is stored, or was lost |
//! | `info_stale` | a server that lost its cluster answers what it knew |
//! | `limit_hit` | nothing more fits for a while: 10077 or 10002 |
//! | `server_shutdown_409` | the server says good-bye and comes back |
//! | `slow_consumer_cut` | a node that is handed much at once is cut off |
//! | `hb_missing` | heartbeats are lost on the way |
//! | `ackwait_late` | the broker's timers are late |
//! | `clock_step` | the broker's wall clock jumps |
//!
//! Not here because nothing of ours is there to suffer it: `stale_direct_get` (nobody reads directly), `watch_*` (nobody
//! watches), `advisory_drop` (nobody listens to advisories), `deliver_twice_concurrently` (one puller for each durable; a
//! second store is fenced by its owner).

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use cloudlysis_core::jetstream::api::{ApiError, err_code};
use cloudlysis_core::jetstream::{Answer, Effect, Fault, Input, Publish, PullStatus, Request};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Filter;
use cloudlysis_io_sim::replicas::{Extent, Leader};

/// How long a stream is without a leader, at least and at most.
const ELECTION_NS: (u64, u64) = (200 * MS, 9_000 * MS);
/// A consumer whose leader knows less than the last one is away at least so long: longer than silence is believed.
const AHEAD_NS: u64 = 3_000 * MS;
/// How long a quorum takes, at least and at most.
const QUORUM_NS: (u64, u64) = (100 * MS, 8_000 * MS);
/// How long nothing fits, at most.
const FULL_NS: u64 = 10_000 * MS;
/// How long a server answers for a cluster it has lost, at most; it notices then.
const DECEIVED_NS: u64 = 8_000 * MS;
/// At least this long there is no other such server, so that everybody can look again.
const DECEIVED_GAP_NS: u64 = 30_000 * MS;
/// How late a timer of the broker is, at most.
const LATE_NS: u64 = 3_000 * MS;
/// Deliveries at one moment that are too many for a node that is slow.
const BURST: usize = 4;

/// The stream a request is about.
pub(super) fn stream_of(input: &Input) -> Option<PlatformStream> {
    let named = |name: &str| PlatformStream::ALL.into_iter().find(|stream| stream.name() == name);
    match input {
        Input::Published(Publish { subject, .. }) => PlatformStream::ALL.into_iter().find(|stream| {
            let owns = |raw: &&'static str| Filter::parse(raw).is_ok_and(|filter| filter.matches(subject));
            stream.subjects().iter().any(owns)
        }),
        Input::Pulled { stream, .. } => named(stream),
        Input::Acked { delivery, .. } => named(&delivery.stream),
        Input::Requested { request, .. } => match request {
            Request::StreamInfo { stream, .. }
            | Request::MessageGet { stream, .. }
            | Request::ConsumerInfo { stream, .. }
            | Request::ConsumerDelete { stream, .. }
            | Request::ConsumerCreate { stream, .. }
            | Request::ConsumerImpossible { stream, .. } => named(stream),
            // Nodes ask for nothing else.
            Request::AccountInfo
            | Request::StreamCreate { .. }
            | Request::StreamUpdate { .. }
            | Request::StreamDelete { .. }
            | Request::StreamPurge { .. }
            | Request::StreamSnapshot { .. }
            | Request::StreamRestore { .. }
            | Request::StreamNames { .. }
            | Request::StreamList { .. }
            | Request::DirectGet { .. }
            | Request::MessageDelete { .. }
            | Request::ConsumerPause { .. }
            | Request::ConsumerReset { .. }
            | Request::ConsumerUnpin { .. }
            | Request::ConsumerNames { .. }
            | Request::ConsumerList { .. } => None,
        },
        Input::Abandoned { .. }
        | Input::InterestGained { .. }
        | Input::InterestLost { .. }
        | Input::FlowControlled { .. }
        | Input::Signalled
        | Input::Stopping
        | Input::CopiesDue
        | Input::ArchivesDue
        | Input::SnapshotAcked { .. }
        | Input::RestoreChunk { .. }
        | Input::Faulted(_)
        | Input::Tick(_) => None,
    }
}

fn failed(err_code: u32) -> ApiError {
    ApiError { code: 503, err_code, description: format!("simulated {err_code}") }
}

impl World {
    /// Whatever a cluster does when it is asked for something.
    pub(super) fn cluster_trouble(&mut self) -> Result<(), Violation> {
        if self.strikes(self.faults.leader_change) {
            let stream = *self.dice.faults.pick(&PlatformStream::ALL);
            let mut pause = self.dice.faults.within(ELECTION_NS.0, ELECTION_NS.1);
            if self.dice.faults.one_in(3) {
                // The next leader of a consumer takes it to be further than it is; nobody is served by it before then.
                pause += AHEAD_NS;
                self.put_ahead(stream)?;
            }
            self.lose_leader(stream, self.now_ns + pause)?;
        }
        if self.strikes(self.faults.store_full) {
            let until = self.now_ns + self.dice.faults.within(MS, FULL_NS);
            let codes = [err_code::STREAM_STORE_FAILED, err_code::RESOURCES_EXCEEDED];
            self.full = Some((until, *self.dice.faults.pick(&codes)));
            self.note(|| "nothing fits any more".to_owned());
        }
        // Two such servers in a row would be one that never notices.
        let is_over = self.deceived.is_none_or(|(until, _)| until + DECEIVED_GAP_NS < self.now_ns);
        if is_over && self.strikes(self.faults.info_stale) {
            let (until, lag) = (
                self.now_ns + self.dice.faults.within(MS, DECEIVED_NS),
                self.dice.faults.within(MS, DECEIVED_NS),
            );
            self.deceived = Some((until, lag));
            self.note(|| "a server that lost its cluster answers".to_owned());
        }
        if self.strikes(self.faults.server_stop) {
            self.note(|| "the broker stops in good order".to_owned());
            self.broker_turn(Input::Stopping)?;
            self.crash_broker();
        }
        if self.strikes(self.faults.broker_clock) {
            let by = i64::try_from(self.dice.faults.below(240_000)).unwrap_or_default() - 120_000;
            self.note(|| format!("the broker's clock jumps by {by} ms"));
            self.broker.jump_clock(by);
        }
        Ok(())
    }

    fn put_ahead(&mut self, stream: PlatformStream) -> Result<(), Violation> {
        let consumers: Vec<_> =
            super::nemesis::consumers().into_iter().filter(|(own, _)| *own == stream).collect();
        let (_, consumer) = self.dice.faults.pick(&consumers).clone();
        let by = self.dice.faults.within(0, 6);
        let (stream, consumer) = (stream.name().to_owned(), consumer.to_string());
        self.broker_turn(Input::Faulted(Fault::ConsumerAhead { stream, consumer, by }))
    }

    /// Nobody leads a stream until then: its pulls die, told or not.
    pub(super) fn lose_leader(&mut self, stream: PlatformStream, until_ns: u64) -> Result<(), Violation> {
        self.note(|| format!("nobody leads {stream} until {} ms", until_ns / MS));
        let refuses = self.dice.faults.one_in(2);
        self.replicas.lose_leader(stream.name(), until_ns, refuses);
        for (own, consumer) in super::nemesis::consumers() {
            if own == stream {
                let told = self.dice.faults.one_in(2).then_some(PullStatus::LeadershipChange);
                let (stream, consumer) = (stream.name().to_owned(), consumer.to_string());
                self.broker_turn(Input::Faulted(Fault::PullsLost { stream, consumer, told }))?;
            }
        }
        Ok(())
    }

    /// What becomes of a request before the log is asked: `None` when that was its end.
    pub(super) fn through_the_cluster(&mut self, input: Input) -> Result<Option<Input>, Violation> {
        let Some(stream) = stream_of(&input) else { return Ok(Some(input)) };
        match self.replicas.leader(stream.name(), self.now_ns) {
            Leader::There => {}
            Leader::Silent => {
                self.note(|| "nobody leads: lost".to_owned());
                return Ok(None);
            }
            Leader::Missing => {
                self.note(|| "nobody leads: refused".to_owned());
                self.refuse(input);
                return Ok(None);
            }
        }
        let Input::Published(publish) = input else { return Ok(Some(input)) };
        if let Some((until, err_code)) = self.full
            && self.now_ns < until
        {
            self.not_published(stream, publish, err_code);
            return Ok(None);
        }
        if let Some(err_code) = self.replicas.contradiction(stream.name(), &publish) {
            self.not_published(stream, publish, err_code);
            return Ok(None);
        }
        if self.strikes(self.faults.quorum_slow) {
            self.note(|| "the quorum is slow".to_owned());
            let pause = self.dice.faults.within(QUORUM_NS.0, QUORUM_NS.1);
            self.replicas.propose(stream.name(), self.now_ns + pause, publish);
            self.after(pause, Event::QuorumDecided(stream));
            return Ok(None);
        }
        Ok(Some(Input::Published(publish)))
    }

    /// Nobody subscribes to where a request went.
    pub(super) fn refuse(&mut self, input: Input) {
        let subject = String::new();
        match input {
            Input::Published(Publish { reply: Some(to), .. }) | Input::Requested { reply: to, .. } => {
                self.deliver(Effect::Reply { to, answer: Answer::NoResponders { subject } });
            }
            Input::Pulled { inbox, .. } => {
                self.deliver(Effect::Status { inbox, status: PullStatus::NoResponders });
            }
            Input::Published(_)
            | Input::Acked { .. }
            | Input::Abandoned { .. }
            | Input::InterestGained { .. }
            | Input::InterestLost { .. }
            | Input::FlowControlled { .. }
            | Input::Signalled
            | Input::Stopping
            | Input::CopiesDue
            | Input::ArchivesDue
            | Input::SnapshotAcked { .. }
            | Input::RestoreChunk { .. }
            | Input::Faulted(_)
            | Input::Tick(_) => {}
        }
    }

    fn not_published(&mut self, stream: PlatformStream, publish: Publish, err_code: u32) {
        self.note(|| format!("refused with {err_code}"));
        if let Some(to) = publish.reply {
            let answer = Answer::NotPublished { stream: stream.name().to_owned(), error: failed(err_code) };
            self.deliver(Effect::Reply { to, answer });
        }
    }

    /// A quorum is found, or a leader that knows nothing of the proposal; whoever waits for the answer has mostly given up.
    pub(super) fn on_quorum_decided(&mut self, stream: PlatformStream) -> Result<(), Violation> {
        for publish in self.replicas.decided(stream.name(), self.now_ns) {
            if !self.broker.is_up() || self.dice.faults.one_in(3) {
                self.note(|| format!("a proposal for {} is forgotten", publish.subject));
            } else {
                self.broker_turn(Input::Published(publish))?;
            }
        }
        Ok(())
    }

    /// After every turn of the broker: how far the logs reach now.
    pub(super) fn remember_extents(&mut self) {
        for stream in PlatformStream::ALL {
            let Some(state) = self.broker.engine().and_then(|engine| engine.stream(stream.name())) else {
                continue;
            };
            let extent = Extent { messages: state.state.messages, last_seq: state.state.last_seq };
            self.replicas.committed(stream.name(), self.now_ns, extent);
            if self.dice.cluster.one_in(4) {
                self.replicas.synced(stream.name(), extent.last_seq);
            }
        }
    }

    /// An answer as a server gives it that lost its cluster.
    pub(super) fn as_somebody_believes(&self, effect: Effect) -> Effect {
        let Some((_, lag)) = self.deceived.filter(|(until, _)| self.now_ns < *until) else { return effect };
        let Effect::Reply { to, answer: Answer::StreamDescribed { mut info, subjects } } = effect else {
            return effect;
        };
        if let Some(extent) = self.replicas.stale(&info.config.name, self.now_ns, lag) {
            info.state.messages = extent.messages;
            info.state.last_seq = extent.last_seq;
        }
        Effect::Reply { to, answer: Answer::StreamDescribed { info, subjects } }
    }

    /// Whether a message to a node is lost for what it is; the connection may go with it.
    pub(super) fn suffers(&mut self, node: NodeId, effect: &Effect) -> bool {
        match effect {
            Effect::Status { status: PullStatus::IdleHeartbeat { .. }, .. } => {
                self.strikes(self.faults.heartbeat_lost)
            }
            Effect::Deliver(_) => {
                let burst = match self.burst {
                    Some((at, to, count)) if at == self.now_ns && to == node => count + 1,
                    Some(_) | None => 1,
                };
                self.burst = Some((self.now_ns, node, burst));
                let cut = burst > BURST && self.strikes(self.faults.slow_consumer);
                if cut {
                    self.note(|| format!("{node} is too slow, and cut off"));
                    self.disconnect_node(node);
                }
                cut
            }
            Effect::Status { .. }
            | Effect::Reply { .. }
            | Effect::Advise { .. }
            | Effect::Chunk { .. }
            | Effect::SnapshotEnded { .. }
            | Effect::Republish { .. } => false,
        }
    }

    /// How late the broker wakes up.
    pub(super) fn lateness_ns(&mut self) -> u64 {
        if self.strikes(self.faults.timer_late) { self.dice.faults.within(MS, LATE_NS) } else { 0 }
    }
}
