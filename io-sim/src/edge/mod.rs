//! The broker edge of one node: what a machine asks for, as requests to the engine, and what the engine sends, as facts.
//!
//! The twin of `io_nats::{broker, consumer}`, conversation for conversation: inspecting is stream info, consumer info, the
//! list of consumers, then some messages; positioning is delete, create, then the list again, and delete where another
//! partition's is on it; loading is one message after the other. Every conversation has a name that comes back as the
//! reply subject, and one deadline: what is not answered by then is unknown, and what comes later is not listened to.
//!
//! ```text
//! reply subjects   n<node>.<connection>.c<conversation>                       answers
//!                  n<node>.<connection>.g<gate>.<generation>.<pull>           deliveries and statuses
//! ```

mod answer;

use bytes::Bytes;
use cloudlysis_core::aggregate::{StoredEvents, Tail};
use cloudlysis_core::gate::{
    Delivery, Effect as GateEffect, Input as GateInput, NoStream, PositionRefused, StreamFacts,
};
use cloudlysis_core::jetstream::api::ConsumerConfig;
use cloudlysis_core::jetstream::{AckKind, AckSubject, Input as BrokerInput, MessageBy, Publish, Request};
use cloudlysis_core::outbox::{Found, Place};
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::wire::answer::{PublishAnswer, PublishRefused, Published, publish_outcome};
use cloudlysis_core::wire::headers::Headers;
use cloudlysis_core::wire::stream::{ConsumerName, PlatformStream};
use cloudlysis_core::{Outcome, Quirks, Token};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Which of a node's gates; `NO_GATE` for a node that only inspects.
pub type GateIndex = u8;
/// For inspections that are no gate's.
pub const NO_GATE: GateIndex = u8::MAX;

/// Who asked for a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publisher {
    /// An outbox.
    Outbox,
    /// An aggregate.
    Aggregate,
}

/// Inboxes remembered per gate: more than a gate ever has pulls waiting.
const INBOXES_MAX: usize = 8;

/// A fact for a node's machine.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// For a gate.
    Gate(GateIndex, GateInput),
    /// A message for a gate.
    Delivered(GateIndex, Delivery),
    /// A publish ended.
    Published(Publisher, Token, Outcome<Published, PublishRefused>),
    /// A look ended.
    Looked(Token, Outcome<Found, Infallible>),
    /// A load ended.
    Loaded(Token, Outcome<Tail, Infallible>),
}

/// A look at a stream under way.
#[derive(Clone, PartialEq, Debug)]
struct Inspection {
    gate: GateIndex,
    token: Token,
    stream: PlatformStream,
    /// Our consumer, where there is one.
    consumer: Option<ConsumerName>,
    /// Whether consumers of other partitions have any of these, while that is not known.
    tenants: Option<Tenants>,
    /// Sequences still to look at.
    look_at: Vec<u64>,
}

/// A consumer being made anew.
#[derive(Clone, PartialEq, Debug)]
struct Creation {
    gate: GateIndex,
    token: Token,
    stream: PlatformStream,
    name: String,
}

#[derive(Clone, PartialEq, Debug)]
enum Conversation {
    Publish { publisher: Publisher, token: Token },
    StreamInfo { inspection: Inspection },
    ConsumerInfo { inspection: Inspection, facts: StreamFacts },
    Rivals { inspection: Inspection, facts: StreamFacts, consumer: ConsumerName, tenants: Tenants },
    Sighting { inspection: Inspection, facts: StreamFacts, seq: u64 },
    Deleting { creation: Creation, config: Box<ConsumerConfig> },
    Creating { creation: Creation, tenants: Tenants },
    Meeting { creation: Creation, tenants: Tenants },
    Withdrawing { creation: Creation, detail: String },
    Look { token: Token },
    Load { token: Token, subject: String, left: usize, messages: Vec<StoredEvents> },
}

/// What an answer leads to.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// Another request of the same conversation, under a name of its own.
    Ask(u64, BrokerInput),
    /// The end of the conversation.
    Done(Fact),
    /// Nothing: nobody listens any more.
    Ignored,
}

/// The edge of one node over one connection at a time.
#[derive(Clone, PartialEq, Debug)]
pub struct Edge {
    node: u8,
    connection: u64,
    next: u64,
    conversations: BTreeMap<u64, Conversation>,
    /// The generation each gate listens to.
    generations: BTreeMap<GateIndex, Token>,
    consumers: BTreeMap<GateIndex, (PlatformStream, String)>,
    /// Where the broker was asked to send messages, by gate; nobody listens on those of an earlier generation.
    inboxes: BTreeMap<GateIndex, Vec<String>>,
    quirks: Quirks,
}

fn token_text(token: Token) -> String {
    format!("{}-{}", token.incarnation, token.seq)
}

fn parse_token(text: &str) -> Option<Token> {
    let (incarnation, seq) = text.split_once('-')?;
    Some(Token { incarnation: incarnation.parse().ok()?, seq: seq.parse().ok()? })
}

impl Edge {
    /// The edge of a node.
    #[must_use]
    pub const fn new(node: u8, quirks: Quirks) -> Self {
        Self {
            node,
            connection: 1,
            next: 0,
            conversations: BTreeMap::new(),
            generations: BTreeMap::new(),
            consumers: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            quirks,
        }
    }

    /// Which connection this is; grows with every reconnect.
    #[must_use]
    pub const fn connection(&self) -> u64 {
        self.connection
    }

    /// Which node and connection a reply subject belongs to.
    #[must_use]
    pub fn owner_of(reply: &str) -> Option<(u8, u64)> {
        let mut parts = reply.strip_prefix('n')?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// The connection is lost: everything under way is unknown, and a new one will be another connection. Also returns
    /// the inboxes that nobody listens to any more, for the broker to notice.
    pub fn disconnected(&mut self) -> (Vec<Fact>, Vec<String>) {
        let conversations = std::mem::take(&mut self.conversations);
        let inboxes = self.forget();
        (conversations.into_values().map(|conversation| self.unknown(conversation)).collect(), inboxes)
    }

    /// The process died: nobody waits for anything. Returns the inboxes that nobody listens to any more.
    pub fn forget(&mut self) -> Vec<String> {
        self.connection += 1;
        self.conversations.clear();
        self.recovered()
    }

    /// The machine was recovered in a process that lives on: its consumers are no longer listened to, while requests under
    /// way still come back, too late.
    pub fn recovered(&mut self) -> Vec<String> {
        self.generations.clear();
        std::mem::take(&mut self.inboxes).into_values().flatten().collect()
    }

    /// What the subjects begin with that this connection listens to.
    fn inbox_prefix(&self) -> String {
        format!("n{}.{}.", self.node, self.connection)
    }

    fn open(&mut self, conversation: Conversation) -> (u64, String) {
        self.next += 1;
        self.conversations.insert(self.next, conversation);
        (self.next, self.reply(self.next))
    }

    fn reply(&self, conversation: u64) -> String {
        format!("n{}.{}.c{conversation}", self.node, self.connection)
    }

    /// Conversations under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.conversations.len()
    }

    /// Publishes a message. The conversation's name comes with the request, so that its deadline can be watched.
    pub fn publish(
        &mut self,
        publisher: Publisher,
        token: Token,
        subject: String,
        headers: Headers,
        payload: Bytes,
    ) -> (u64, BrokerInput) {
        let (id, reply) = self.open(Conversation::Publish { publisher, token });
        (
            id,
            BrokerInput::Published(Publish { subject, reply: Some(reply), headers: headers.into(), payload }),
        )
    }

    /// Reads a stream's identity and extent, a consumer's, what stands at some sequences, and whether another partition's
    /// consumer has any of some tenants.
    pub fn inspect(
        &mut self,
        gate: GateIndex,
        token: Token,
        stream: PlatformStream,
        consumer: Option<(ConsumerName, Option<Tenants>)>,
        look_at: Vec<u64>,
    ) -> (u64, BrokerInput) {
        let (consumer, tenants) =
            consumer.map_or((None, None), |(consumer, tenants)| (Some(consumer), tenants));
        let inspection = Inspection { gate, token, stream, consumer, tenants, look_at };
        let (id, reply) = self.open(Conversation::StreamInfo { inspection });
        (id, requested(reply, stream_info(stream)))
    }

    /// Reads a message on a subject.
    pub fn look(
        &mut self,
        token: Token,
        stream: PlatformStream,
        subject: String,
        place: Place,
    ) -> (u64, BrokerInput) {
        let by = match place {
            Place::First => MessageBy::NextBySubject { subject, seq: 1 },
            Place::Last => MessageBy::LastBySubject(subject),
        };
        let (id, reply) = self.open(Conversation::Look { token });
        (id, requested(reply, message_get(stream, by)))
    }

    /// Reads a subject's messages from a sequence on.
    pub fn load(
        &mut self,
        token: Token,
        subject: String,
        from_seq: u64,
        messages_max: usize,
    ) -> (u64, BrokerInput) {
        let by = MessageBy::NextBySubject { subject: subject.clone(), seq: from_seq };
        let conversation = Conversation::Load { token, subject, left: messages_max, messages: Vec::new() };
        let (id, reply) = self.open(conversation);
        (id, requested(reply, message_get(PlatformStream::AggregateEvents, by)))
    }

    /// What a gate asks for; the conversation's name when there is one to watch.
    pub fn gate(&mut self, gate: GateIndex, effect: GateEffect) -> (Option<u64>, Option<BrokerInput>) {
        match effect {
            GateEffect::Inspect { token, stream, consumer, look_at, tenants } => {
                let (id, input) = self.inspect(gate, token, stream, Some((consumer, tenants)), look_at);
                (Some(id), Some(input))
            }
            GateEffect::Position { token, stream, consumer } => {
                let name = consumer.durable_name.clone().unwrap_or_default();
                self.generations.insert(gate, token);
                self.inboxes.remove(&gate);
                self.consumers.insert(gate, (stream, name.clone()));
                let creation = Creation { gate, token, stream, name: name.clone() };
                let (id, reply) = self.open(Conversation::Deleting { creation, config: consumer });
                let request = Request::ConsumerDelete { stream: stream.name().to_owned(), consumer: name };
                (Some(id), Some(requested(reply, request)))
            }
            GateEffect::Fetch { generation, pull, request } => {
                if self.generations.get(&gate) != Some(&generation) {
                    return (None, None);
                }
                let Some((stream, consumer)) = self.consumers.get(&gate) else { return (None, None) };
                let inbox = format!(
                    "n{}.{}.g{gate}.{}.{}",
                    self.node,
                    self.connection,
                    token_text(generation),
                    token_text(pull)
                );
                let (stream, consumer) = (stream.name().to_owned(), consumer.clone());
                let inboxes = self.inboxes.entry(gate).or_default();
                inboxes.push(inbox.clone());
                let surplus = inboxes.len().saturating_sub(INBOXES_MAX);
                inboxes.drain(..surplus);
                (None, Some(BrokerInput::Pulled { stream, consumer, inbox, request }))
            }
            GateEffect::Ack { ack } => (None, acked(&ack, AckKind::Ack)),
            GateEffect::Term { ack, reason } => (None, acked(&ack, AckKind::Term { reason })),
        }
    }

    /// A conversation's deadline has passed.
    pub fn timed_out(&mut self, conversation: u64) -> Option<Fact> {
        let conversation = self.conversations.remove(&conversation)?;
        Some(self.unknown(conversation))
    }

    fn unknown(&self, conversation: Conversation) -> Fact {
        match conversation {
            Conversation::Publish { publisher, token } => {
                Fact::Published(publisher, token, publish_outcome(PublishAnswer::TimedOut, self.quirks))
            }
            Conversation::StreamInfo { inspection }
            | Conversation::ConsumerInfo { inspection, .. }
            | Conversation::Rivals { inspection, .. }
            | Conversation::Sighting { inspection, .. } => inspection.ends(Outcome::Unknown),
            Conversation::Deleting { creation, .. }
            | Conversation::Creating { creation, .. }
            | Conversation::Meeting { creation, .. }
            | Conversation::Withdrawing { creation, .. } => creation.ends(Outcome::Unknown),
            Conversation::Look { token } => Fact::Looked(token, Outcome::Unknown),
            Conversation::Load { token, .. } => Fact::Loaded(token, Outcome::Unknown),
        }
    }
}

impl Inspection {
    fn ends(self, outcome: Outcome<StreamFacts, NoStream>) -> Fact {
        Fact::Gate(self.gate, GateInput::Inspected { token: self.token, outcome })
    }
}

impl Creation {
    fn ends(self, outcome: Outcome<(), PositionRefused>) -> Fact {
        Fact::Gate(self.gate, GateInput::Positioned { token: self.token, outcome })
    }
}

fn requested(reply: String, request: Request) -> BrokerInput {
    BrokerInput::Requested { reply, request }
}

fn stream_info(stream: PlatformStream) -> Request {
    Request::StreamInfo {
        stream: stream.name().to_owned(),
        subjects_filter: None,
        offset: 0,
        deleted_details: false,
    }
}

fn message_get(stream: PlatformStream, by: MessageBy) -> Request {
    Request::MessageGet { stream: stream.name().to_owned(), by }
}

fn acked(ack: &str, kind: AckKind) -> Option<BrokerInput> {
    Some(BrokerInput::Acked { delivery: AckSubject::parse(ack)?, kind, reply: None })
}
