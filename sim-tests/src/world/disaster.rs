//! Disasters: what no contract allows. Acknowledged messages are lost, replaced or removed; streams vanish and come back.
//!
//! ```text
//!  lively world ─► struck ─────────────► rewritten ───────────────► judged ─► runbook ─► new work ─► settled
//!                  nobody leads,         the log is another one,     INV-DIV-1            INV-LIVE-1
//!                  some nodes are down   the leader is back          in [`runbook`](super::runbook)
//! ```
//!
//! A log is rewritten while nobody leads it, for longer than any node goes without looking: that is the assumption on which
//! detection rests (docs/operating.md). Holes come without a word.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use cloudlysis_core::jetstream::{Fault, Input, Publish, Request, StoredMessage};
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::envelope::{Event as Happening, EventMessage};
use cloudlysis_core::wire::headers::{Headers, NATS_MSG_ID};
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Route;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Nobody leads for this long, at least and at most: an audit, a request that times out, and what slows both.
const WINDOW_NS: (u64, u64) = (20_000 * MS, 30_000 * MS);
/// Everybody has noticed by then: an audit, doubts until they are certain, requests that time out.
const NOTICED_NS: u64 = 120_000 * MS;
/// Most messages that are lost at the end of a log.
const SUFFIX_MAX: u64 = 6;

/// A kind of disaster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Disaster {
    /// The end of a log is lost.
    SuffixLost,
    /// The end of a log is lost, and other messages stand there.
    SuffixReplaced,
    /// Messages in the middle are lost.
    Hole,
    /// A stream is not there any more.
    StreamGone,
    /// A stream is there again, empty.
    StreamRecreated,
    /// A stream is what it was at an earlier moment, and went on from there.
    StreamRestored,
    /// One message is removed that somebody has not seen.
    MessageRemoved,
    /// The power of a single server fails: the unsynced end of every log is lost.
    PowerLost,
}

impl Disaster {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SuffixLost,
        Self::SuffixReplaced,
        Self::Hole,
        Self::StreamGone,
        Self::StreamRecreated,
        Self::StreamRestored,
        Self::MessageRemoved,
        Self::PowerLost,
    ];

    /// As `reference/jetstream.md` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SuffixLost => "log_suffix_lost",
            Self::SuffixReplaced => "log_suffix_replaced",
            Self::Hole => "log_hole",
            Self::StreamGone => "stream_gone",
            Self::StreamRecreated => "stream_recreated",
            Self::StreamRestored => "stream_restored",
            Self::MessageRemoved => "msg_removed_unacked",
            Self::PowerLost => "power_lost",
        }
    }
}

/// How far a disaster is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It has not happened.
    Ahead,
    /// It is happening, or has happened: the log is another one.
    Struck,
    /// People have done what the runbook says.
    Repaired,
}

/// The disaster of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calamity {
    /// Which.
    pub disaster: Disaster,
    /// Of which stream; of all when the power fails.
    pub stream: PlatformStream,
    /// How far.
    pub stage: Stage,
}

impl World {
    /// Whether the logs that the oracles followed are still the ones that are there.
    pub(super) fn is_struck(&self) -> bool {
        self.calamity.is_some_and(|own| own.stage != Stage::Ahead)
    }

    fn last_of(&self, stream: PlatformStream) -> u64 {
        let engine = self.broker.engine();
        engine.and_then(|engine| engine.stream(stream.name())).map_or(0, |info| info.state.last_seq)
    }

    pub(super) fn on_struck(&mut self) -> Result<(), Violation> {
        let Some(mut calamity) = self.calamity else { return Ok(()) };
        if !self.broker.is_up() {
            self.after(100 * MS, Event::Struck);
            return Ok(());
        }
        if self.last_of(calamity.stream) == 0 {
            calamity.stream = PlatformStream::AggregateEvents;
        }
        calamity.stage = Stage::Struck;
        self.calamity = Some(calamity);
        self.oracles.suspend();
        let window = self.dice.faults.within(WINDOW_NS.0, WINDOW_NS.1);
        let until = self.now_ns + window;
        self.note(|| format!("{calamity:?}"));
        for id in self.node_ids() {
            if self.dice.faults.one_in(3) {
                let longer = self.dice.faults.within(0, 5_000) * MS;
                self.hold_down(id, until + longer)?;
            }
        }
        match calamity.disaster {
            Disaster::SuffixLost | Disaster::SuffixReplaced | Disaster::StreamRestored => {
                self.lose_leader(calamity.stream, until)?;
                self.after(window - 1, Event::Rewritten);
            }
            Disaster::StreamRecreated => {
                self.delete_stream(calamity.stream)?;
                self.lose_leader(calamity.stream, until)?;
                self.after(window - 1, Event::Rewritten);
            }
            Disaster::Hole | Disaster::MessageRemoved | Disaster::StreamGone => return self.on_rewritten(),
            Disaster::PowerLost => {
                self.crash_broker();
                self.after(NOTICED_NS, Event::Judged);
            }
        }
        Ok(())
    }

    /// A node is down while it happens.
    fn hold_down(&mut self, id: NodeId, until_ns: u64) -> Result<(), Violation> {
        self.held.insert(id, until_ns);
        if self.is_up(id) { self.kill_between_turns(id) } else { Ok(()) }
    }

    fn delete_stream(&mut self, stream: PlatformStream) -> Result<(), Violation> {
        let request = Request::StreamDelete { stream: stream.name().to_owned() };
        self.broker_turn(Input::Requested { reply: "nobody".to_owned(), request })
    }

    /// The log becomes another one; from here on the world is calm, and everybody has time to notice.
    pub(super) fn on_rewritten(&mut self) -> Result<(), Violation> {
        let Some(Calamity { disaster, stream, .. }) = self.calamity else { return Ok(()) };
        if !self.broker.is_up() {
            self.after(100 * MS, Event::Rewritten);
            return Ok(());
        }
        self.calm_down();
        let last = self.last_of(stream);
        match disaster {
            Disaster::SuffixLost => {
                let lost = self.dice.faults.within(1, SUFFIX_MAX.min(last.max(1)));
                self.truncate(stream, last.saturating_sub(lost))?;
            }
            Disaster::SuffixReplaced => {
                let lost = self.dice.faults.within(1, SUFFIX_MAX.min(last.max(1)));
                let more = self.dice.faults.within(0, 3);
                self.replace(stream, last.saturating_sub(lost), last + more)?;
            }
            Disaster::StreamRestored => {
                let to = self.dice.faults.within(0, last.saturating_sub(1));
                let went_on = self.dice.faults.within(0, last - to + 2);
                for (own, consumer) in super::nemesis::consumers() {
                    if own == stream {
                        let (stream, consumer) = (stream.name().to_owned(), consumer.to_string());
                        let request = Request::ConsumerDelete { stream, consumer };
                        self.broker_turn(Input::Requested { reply: "nobody".to_owned(), request })?;
                    }
                }
                self.replace(stream, to, to + went_on)?;
            }
            Disaster::Hole => {
                let from_seq = self.dice.faults.within(1, last.max(1));
                let to_seq = from_seq + self.dice.faults.below(4);
                let stream = stream.name().to_owned();
                self.broker_turn(Input::Faulted(Fault::LogHoled { stream, from_seq, to_seq }))?;
            }
            Disaster::MessageRemoved => {
                let stream = stream.name().to_owned();
                let hole = Fault::LogHoled { stream, from_seq: last, to_seq: last };
                self.broker_turn(Input::Faulted(hole))?;
            }
            Disaster::StreamGone => self.delete_stream(stream)?,
            Disaster::StreamRecreated => self.make_stream(stream, "again")?,
            Disaster::PowerLost => {}
        }
        self.after(NOTICED_NS, Event::Judged);
        Ok(())
    }

    /// The server comes back from a power loss: what was not synced is gone before anybody can ask.
    pub(super) fn lose_the_unsynced(&mut self) -> Result<(), Violation> {
        let is_it = |own: Calamity| own.disaster == Disaster::PowerLost && own.stage == Stage::Struck;
        if !self.calamity.is_some_and(is_it) || self.power_lost {
            return Ok(());
        }
        self.power_lost = true;
        self.calm_down();
        for stream in PlatformStream::ALL {
            let last = self.last_of(stream);
            let left = self.replicas.after_power_loss(stream.name(), last, &mut self.dice.cluster);
            self.truncate(stream, left)?;
        }
        Ok(())
    }

    fn truncate(&mut self, stream: PlatformStream, last_seq: u64) -> Result<(), Violation> {
        self.note(|| format!("{stream} ends at {last_seq}"));
        let stream = stream.name().to_owned();
        self.broker_turn(Input::Faulted(Fault::LogTruncated { stream, last_seq }))
    }

    /// What stood behind a sequence is partly there again, elsewhere, and partly replaced by what was never there.
    fn replace(&mut self, stream: PlatformStream, keep_to: u64, until: u64) -> Result<(), Violation> {
        let lost: Vec<StoredMessage> = self.broker.log(stream.name(), keep_to + 1).unwrap_or_default();
        self.truncate(stream, keep_to)?;
        let mut dropped = BTreeSet::new();
        for message in &lost {
            // Later events of an aggregate mean nothing without the earlier ones.
            if !dropped.contains(&message.subject)
                && self.last_of(stream) < until
                && self.dice.faults.one_in(2)
            {
                let headers = message.headers.to_headers();
                let unbound = headers.iter().filter(|(name, _)| !name.starts_with("Nats-Expected"));
                let (headers, payload) = (unbound.collect(), message.payload.clone());
                self.store(&message.subject, headers, payload)?;
            } else {
                dropped.insert(message.subject.clone());
            }
        }
        let mut rivals: BTreeMap<_, _> = lost
            .iter()
            .rev()
            .filter(|own| dropped.contains(&own.subject))
            .map(|own| (&own.subject, own))
            .collect();
        while self.last_of(stream) < until {
            let rival = rivals.pop_first().and_then(|(_, lost)| self.rival_of(lost));
            let (subject, payload) = rival.unwrap_or_else(|| self.ghost(stream));
            let mut headers = Headers::default();
            headers.append("tenant-id", "t1");
            self.store(&subject, headers, payload)?;
        }
        Ok(())
    }

    fn store(&mut self, subject: &str, headers: Headers, payload: bytes::Bytes) -> Result<(), Violation> {
        // Whether its id is known is not asked of a message that a cluster agreed on.
        let ids = headers.get(NATS_MSG_ID).map(str::to_owned).into_iter().collect();
        for stream in PlatformStream::ALL {
            let forgotten = Fault::IdsForgotten { stream: stream.name().to_owned(), ids: Vec::clone(&ids) };
            self.broker_turn(Input::Faulted(forgotten))?;
        }
        self.broker_turn(Input::Published(Publish {
            subject: subject.to_owned(),
            reply: None,
            headers: headers.into(),
            payload,
        }))
    }

    /// Another delivery of goods than the one that was lost, with the same version.
    fn rival_of(&mut self, lost: &StoredMessage) -> Option<(String, bytes::Bytes)> {
        let subject = lost.subject.to_string();
        let headers = lost.headers.to_headers();
        let decoded = EventMessage::decode(&subject, &headers, &lost.payload, "disaster").ok()?;
        if decoded.aggregate.as_str() != "stock" || decoded.tenant.as_str() != "t1" {
            return None;
        }
        let message = self.goods(decoded.tenant, decoded.id, decoded.version, 99);
        Some((subject, message.encode().into()))
    }

    /// A message that was never there: of goods that nobody orders, or under a subject that nobody reads.
    fn ghost(&mut self, stream: PlatformStream) -> (String, bytes::Bytes) {
        self.ghosts += 1;
        let number = self.ghosts;
        match stream {
            PlatformStream::AggregateEvents => {
                let tenant = TenantId::parse("t1").expect("a tenant");
                let id = EntityId::parse(&format!("ghost-{number}")).expect("an id");
                let kind = Name::parse("stock").expect("a name");
                let route = Route::Aggregate { tenant: tenant.clone(), kind, id: id.clone() };
                (route.subject().to_string(), self.goods(tenant, id, 1, 1).encode().into())
            }
            PlatformStream::WorkflowCommands => (format!("tenant.t1.workflow.ghost.{number}"), "{}".into()),
            PlatformStream::WorkflowEvents => {
                (format!("tenant.t1.workflow_event.ghost.{number}.x"), "{}".into())
            }
        }
    }

    fn goods(&mut self, tenant: TenantId, id: EntityId, version: u64, qty: u64) -> EventMessage {
        self.ghosts += 1;
        let kind = Name::parse("stock_added").expect("a name");
        EventMessage {
            tenant,
            aggregate: Name::parse("stock").expect("a name"),
            id,
            version,
            events: vec![Happening { kind, payload: json!({ "qty": qty }) }],
            command_id: CommandId::parse(&format!("ghost-{}", self.ghosts)).ok(),
            timestamp: None,
            context: Context::generate("ghost"),
        }
    }
}
