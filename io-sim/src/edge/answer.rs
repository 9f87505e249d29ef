//! What comes back: answers, deliveries and statuses, as facts or as the next request of a conversation.

use super::{Conversation, Edge, Fact, GateIndex, Inspection, Next, message_get, parse_token, requested};
use cloudlysis_core::aggregate::{StoredEvents, Tail};
use cloudlysis_core::gate::{
    ConsumerFacts, Delivery, Input as GateInput, NoStream, PositionRefused, PullEnd, Rival, Sighting,
    StreamFacts, Witness,
};
use cloudlysis_core::jetstream::api::err_code;
use cloudlysis_core::jetstream::{
    self, AckSubject, Answer, ConsumerAction, MessageBy, PullStatus, Request, StoredMessage,
};
use cloudlysis_core::outbox::Found;
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::wire::answer::{PublishAnswer, publish_outcome};
use cloudlysis_core::wire::headers::NATS_MSG_ID;
use cloudlysis_core::wire::stream::{OWNER_METADATA, PlatformStream, TENANTS_METADATA, incarnation};
use cloudlysis_core::{Outcome, Token};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// A tail being read.
struct Load {
    token: Token,
    subject: String,
    left: usize,
    messages: Vec<StoredEvents>,
}

impl Edge {
    /// The engine sent something to one of our reply subjects.
    pub fn received(&mut self, effect: jetstream::Effect) -> Next {
        match effect {
            jetstream::Effect::Reply { to, answer } => self.answered(&to, answer),
            jetstream::Effect::Deliver(delivery) => {
                let Some((gate, generation, _)) = self.listening(&delivery.inbox) else {
                    return Next::Ignored;
                };
                let AckSubject { stream_seq, consumer_seq, stored_at_ns, pending, .. } = delivery.ack;
                Next::Done(Fact::Delivered(
                    gate,
                    Delivery {
                        generation,
                        subject: delivery.subject.to_string(),
                        headers: delivery.headers.to_headers(),
                        payload: delivery.payload,
                        stream_seq,
                        stored_at_ns,
                        consumer_seq,
                        pending,
                        ack: delivery.ack.to_string(),
                    },
                ))
            }
            jetstream::Effect::Status { inbox, status } => {
                let Some((gate, generation, pull)) = self.listening(&inbox) else { return Next::Ignored };
                Next::Done(Fact::Gate(gate, pull_status(generation, pull, &status)))
            }
            jetstream::Effect::Advise { .. }
            | jetstream::Effect::Republish { .. }
            | jetstream::Effect::Chunk { .. }
            | jetstream::Effect::SnapshotEnded { .. } => Next::Ignored,
        }
    }

    /// The gate, generation and pull an inbox belongs to; whether the generation is still the present one is for the
    /// gate to judge.
    fn listening(&self, inbox: &str) -> Option<(GateIndex, Token, Token)> {
        let rest = inbox.strip_prefix(&self.inbox_prefix())?.strip_prefix('g')?;
        let mut parts = rest.split('.');
        let gate: GateIndex = parts.next()?.parse().ok()?;
        let (generation, pull) = (parse_token(parts.next()?)?, parse_token(parts.next()?)?);
        Some((gate, generation, pull))
    }

    fn answered(&mut self, to: &str, answer: Answer) -> Next {
        let id = to.strip_prefix(&self.inbox_prefix()).and_then(|rest| rest.strip_prefix('c')?.parse().ok());
        let Some(conversation) = id.and_then(|id: u64| self.conversations.remove(&id)) else {
            return Next::Ignored;
        };
        match conversation {
            Conversation::Publish { publisher, token } => {
                let outcome = publish_outcome(publish_answer(answer), self.quirks);
                Next::Done(Fact::Published(publisher, token, outcome))
            }
            Conversation::StreamInfo { inspection } => {
                if is_error(&answer, err_code::STREAM_NOT_FOUND) {
                    return Next::Done(inspection.ends(Outcome::Refused(NoStream)));
                }
                let Answer::StreamDescribed { info, .. } = answer else {
                    return Next::Done(inspection.ends(Outcome::Unknown));
                };
                let facts = StreamFacts {
                    incarnation: incarnation(&info),
                    first_seq: info.state.first_seq,
                    last_seq: info.state.last_seq,
                    messages: info.state.messages,
                    found: Vec::new(),
                    subjects: BTreeMap::new(),
                    consumer: None,
                    rival: None,
                };
                let Some(consumer) = &inspection.consumer else {
                    return self.look_further(inspection, facts);
                };
                let (stream, consumer) = (inspection.stream.name().to_owned(), consumer.to_string());
                let request = Request::ConsumerInfo { stream, consumer };
                self.ask_again(Conversation::ConsumerInfo { inspection, facts }, request)
            }
            Conversation::ConsumerInfo { mut inspection, facts } => {
                let Some(facts) = consumer_facts(facts, answer) else {
                    return Next::Done(inspection.ends(Outcome::Unknown));
                };
                match (inspection.consumer.clone(), inspection.tenants.take()) {
                    (Some(consumer), Some(tenants)) => {
                        let request = consumers_of(inspection.stream);
                        self.ask_again(Conversation::Rivals { inspection, facts, consumer, tenants }, request)
                    }
                    (_, None) | (None, _) => self.look_further(inspection, facts),
                }
            }
            Conversation::Rivals { inspection, mut facts, consumer, tenants } => {
                let Some(found) = rival(consumer.as_str(), &tenants, &answer) else {
                    return Next::Done(inspection.ends(Outcome::Unknown));
                };
                facts.rival = found;
                self.look_further(inspection, facts)
            }
            Conversation::Sighting { inspection, mut facts, seq } => {
                let witness = if let Answer::Message(message) = answer {
                    let StoredMessage { subject, headers, payload, stored_at, .. } = *message;
                    let own = Witness::of(&subject, &payload, Some(stored_at.as_ms() * 1_000_000));
                    facts.subjects.insert(seq, subject.to_string());
                    Some(own.identified(headers.text(NATS_MSG_ID)))
                } else if is_error(&answer, err_code::NO_MESSAGE_FOUND) {
                    None
                } else {
                    return Next::Done(inspection.ends(Outcome::Unknown));
                };
                facts.found.push(Sighting { seq, witness });
                self.look_further(inspection, facts)
            }
            Conversation::Deleting { creation, config } => {
                if answer == Answer::ConsumerDeleted || is_error(&answer, err_code::CONSUMER_NOT_FOUND) {
                    let tenants =
                        config.metadata.get(TENANTS_METADATA).and_then(|text| Tenants::decode(text));
                    let request = Request::ConsumerCreate {
                        stream: creation.stream.name().to_owned(),
                        config,
                        action: ConsumerAction::Create,
                        pedantic: false,
                    };
                    let next = Conversation::Creating { creation, tenants: tenants.unwrap_or_default() };
                    return self.ask_again(next, request);
                }
                Next::Done(creation.ends(refused_or_unknown(answer)))
            }
            Conversation::Creating { creation, tenants } => {
                if matches!(answer, Answer::Consumer(_)) {
                    let request = consumers_of(creation.stream);
                    return self.ask_again(Conversation::Meeting { creation, tenants }, request);
                }
                Next::Done(creation.ends(refused_or_unknown(answer)))
            }
            Conversation::Meeting { creation, tenants } => match rival(&creation.name, &tenants, &answer) {
                Some(None) => Next::Done(creation.ends(Outcome::Done(()))),
                Some(Some(Rival { consumer, tenants })) => {
                    let stream = creation.stream.name().to_owned();
                    let request = Request::ConsumerDelete { stream, consumer: creation.name.clone() };
                    let detail = format!("{consumer} has {tenants}, too");
                    self.ask_again(Conversation::Withdrawing { creation, detail }, request)
                }
                None => Next::Done(creation.ends(Outcome::Unknown)),
            },
            Conversation::Withdrawing { creation, detail } => {
                Next::Done(creation.ends(Outcome::Refused(PositionRefused { detail })))
            }
            Conversation::Look { token } => Next::Done(Fact::Looked(token, found(answer))),
            Conversation::Load { token, subject, left, messages } => {
                self.loaded(Load { token, subject, left, messages }, answer)
            }
        }
    }

    /// One more message of a tail, or its end.
    fn loaded(&mut self, load: Load, answer: Answer) -> Next {
        let Load { token, subject, left, mut messages } = load;
        let done = |outcome| Next::Done(Fact::Loaded(token, outcome));
        if is_error(&answer, err_code::NO_MESSAGE_FOUND) {
            return done(Outcome::Done(Tail { messages, complete: true }));
        }
        let Answer::Message(message) = answer else { return done(Outcome::Unknown) };
        let StoredMessage { seq, headers, payload, .. } = *message;
        messages.push(StoredEvents { seq, headers: headers.to_headers(), payload });
        if left <= 1 {
            return done(Outcome::Done(Tail { messages, complete: false }));
        }
        let by = MessageBy::NextBySubject { subject: subject.clone(), seq: seq + 1 };
        let next = Conversation::Load { token, subject, left: left - 1, messages };
        self.ask_again(next, message_get(PlatformStream::AggregateEvents, by))
    }

    /// Looks at the next sequence of an inspection, or ends it.
    fn look_further(&mut self, mut inspection: Inspection, facts: StreamFacts) -> Next {
        let Some(seq) = inspection.look_at.pop() else {
            return Next::Done(inspection.ends(Outcome::Done(facts)));
        };
        let request = message_get(inspection.stream, MessageBy::Seq(seq));
        self.ask_again(Conversation::Sighting { inspection, facts, seq }, request)
    }

    /// Goes on with a request of its own, and a deadline of its own.
    fn ask_again(&mut self, next: Conversation, request: Request) -> Next {
        let (id, reply) = self.open(next);
        Next::Ask(id, requested(reply, request))
    }
}

fn is_error(answer: &Answer, code: u32) -> bool {
    matches!(answer, Answer::Failed(error) if error.err_code == code)
}

/// With what is known of the consumer; `None` when that is nothing.
fn consumer_facts(mut facts: StreamFacts, answer: Answer) -> Option<StreamFacts> {
    if is_error(&answer, err_code::CONSUMER_NOT_FOUND) {
        return Some(facts);
    }
    let Answer::Consumer(info) = answer else { return None };
    facts.consumer = Some(ConsumerFacts {
        owner: info.config.metadata.get(OWNER_METADATA).cloned(),
        ack_floor_seq: info.ack_floor.stream_seq,
    });
    Some(facts)
}

/// No world has more consumers on a stream than one page of an answer.
fn consumers_of(stream: PlatformStream) -> Request {
    Request::ConsumerList { stream: stream.name().to_owned(), offset: 0 }
}

/// A consumer of another partition that has any of these tenants; `None` when the broker does not say.
fn rival(own: &str, tenants: &Tenants, answer: &Answer) -> Option<Option<Rival>> {
    let Answer::Consumers(page) = answer else { return None };
    Some(page.items.iter().find_map(|info| Rival::of(own, tenants, (&info.name, &info.config.metadata))))
}

fn refused_or_unknown(answer: Answer) -> Outcome<(), PositionRefused> {
    let Answer::Failed(error) = answer else { return Outcome::Unknown };
    Outcome::Refused(PositionRefused { detail: error.description })
}

fn found(answer: Answer) -> Outcome<Found, Infallible> {
    if is_error(&answer, err_code::NO_MESSAGE_FOUND) {
        return Outcome::Done(Found::Nothing);
    }
    let Answer::Message(message) = answer else { return Outcome::Unknown };
    let msg_id = message.headers.text(NATS_MSG_ID).map(str::to_owned);
    Outcome::Done(Found::Message { seq: message.seq, msg_id })
}

/// What the client library would have made of an answer to a publish.
fn publish_answer(answer: Answer) -> PublishAnswer {
    if let Answer::Published { seq, duplicate, .. } = answer {
        return PublishAnswer::Acked { seq, duplicate };
    }
    if let Answer::NotPublished { error, .. } | Answer::Failed(error) = answer {
        return PublishAnswer::Error { err_code: error.err_code, description: error.description };
    }
    if matches!(answer, Answer::NoResponders { .. }) {
        return PublishAnswer::NoResponders;
    }
    PublishAnswer::TimedOut
}

/// What a status says about a pull: the twin of `io_nats::consumer`'s table.
fn pull_status(generation: Token, pull: Token, status: &PullStatus) -> GateInput {
    let end = match status {
        PullStatus::IdleHeartbeat { last, .. } => {
            return GateInput::Heartbeat { generation, last_consumer_seq: last.consumer_seq };
        }
        PullStatus::NoMessages
        | PullStatus::RequestTimeout(_)
        | PullStatus::RequestsPending
        | PullStatus::MessageSizeExceedsMaxBytes(_)
        | PullStatus::BatchCompleted(_)
        // Only a push consumer asks.
        | PullStatus::FlowControlRequest { .. } => PullEnd::Served,
        PullStatus::LeadershipChange | PullStatus::ServerShutdown(_) => PullEnd::Moved,
        PullStatus::ConsumerDeleted | PullStatus::NoResponders => PullEnd::ConsumerGone,
        PullStatus::ExceededMaxRequestBatch { .. }
        | PullStatus::ExceededMaxRequestExpires { .. }
        | PullStatus::ExceededMaxRequestMaxBytes { .. }
        | PullStatus::ExceededMaxWaiting
        | PullStatus::ConsumerIsPushBased
        | PullStatus::PinIdMismatch
        | PullStatus::WrongPinId(_)
        | PullStatus::BadRequest(_) => PullEnd::Refused,
    };
    GateInput::PullEnded { generation, pull, end }
}
