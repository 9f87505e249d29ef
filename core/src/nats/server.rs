//! A server of core NATS without I/O: connections, subscriptions, messages from one to the other.
//!
//! ```text
//!  Connected ─► INFO ─► CONNECT ─► operations ──► Send to whom it concerns
//!                 │                    │
//!                 └── too late ────────┴── violation, silence ──► -ERR, Close
//! ```
//!
//! | input | answer |
//! |---|---|
//! | `Connected` | `INFO`; beyond the limit it is closed again |
//! | `Received` | whatever the operations in it cause; a violation closes the connection |
//! | `Disconnected` | nothing; its subscriptions end |
//! | `Tick` | a `PING` to who was silent; who leaves too many unanswered, or does not say who he is, is closed |
//!
//! Nothing is durable, so this is no [`Machine`](crate::Machine): a plain value, whose effects may leave at once. An
//! input for a connection that is closed changes nothing.
//!
//! - Limits: connections, their subscriptions, and per connection what a parser holds and one `CONNECT`. What one
//!   `Received` makes others be sent is bounded only by its length times the subscriptions: payloads are shared. Who
//!   performs the effects counts what a connection has not taken yet, and cuts a slow one without a word.
//! - Differences to the real server: no second `INFO` after `CONNECT`; no `PING` that only measures the way; times are
//!   exact, not jittered.
//! - Not here: TLS, accounts and permissions, JetStream.

use super::connection::{Auth, Connection};
use super::routes::{InterestChange, Routes};
use super::write::Message;
use super::{ConnectionId, Info, Limits, Operation, Outgoing, Publish, Violation, subject};
use crate::backoff::mix;
use crate::time::{Mono, Now};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What it says about itself. What depends on the connection or on `limits` and `auth` is filled in.
    pub info: Info,
    /// Who may come.
    pub auth: Auth,
    /// Bounds.
    pub limits: Limits,
    /// Decides which member of a queue group gets a message.
    pub seed: u64,
}

/// Facts for a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A client is there.
    Connected {
        /// Its number, never used before.
        connection: ConnectionId,
        /// Where it comes from.
        address: String,
    },
    /// It sent something.
    Received {
        /// Who.
        connection: ConnectionId,
        /// What.
        bytes: Bytes,
    },
    /// It is gone.
    Disconnected {
        /// Who.
        connection: ConnectionId,
    },
    /// Time has passed.
    Tick,
}

/// Requests of a server. What is for one connection is in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send this.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// What.
        bytes: Bytes,
    },
    /// End the connection, once everything before is sent.
    Close {
        /// Which.
        connection: ConnectionId,
    },
}

/// What one input or several cause, until somebody takes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Answers {
    outgoing: BTreeMap<ConnectionId, Outgoing>,
    closed: Vec<ConnectionId>,
}

impl Answers {
    fn to(&mut self, connection: ConnectionId) -> &mut Outgoing {
        self.outgoing.entry(connection).or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.closed.is_empty()
    }

    pub(crate) fn into_effects(self) -> impl Iterator<Item = Effect> {
        let sends = self.outgoing.into_iter().flat_map(|(connection, outgoing)| {
            outgoing.into_pieces().into_iter().map(move |bytes| Effect::Send { connection, bytes })
        });
        let closes = self.closed.into_iter().map(|connection| Effect::Close { connection });
        sends.chain(closes)
    }
}

/// Who, besides the clients, wants messages.
pub(crate) trait Host {
    /// Offers what a client published. Whether it was wanted: then the client is not told that nobody listens.
    fn offer(&mut self, from: ConnectionId, publish: &Publish) -> bool;
}

/// A server of nothing but core NATS.
struct Nobody;

impl Host for Nobody {
    fn offer(&mut self, _: ConnectionId, _: &Publish) -> bool {
        false
    }
}

/// A message of the host's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'m> {
    pub(crate) subject: &'m [u8],
    pub(crate) reply: Option<&'m [u8]>,
    pub(crate) headers: &'m Bytes,
    pub(crate) payload: &'m Bytes,
}

/// A server. See the module text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    config: Config,
    connections: BTreeMap<ConnectionId, Connection>,
    routes: Routes,
    /// When to look after whom: the `due` of every connection.
    alarms: BTreeSet<(Mono, ConnectionId)>,
    /// Messages so far: each is another draw for queue groups.
    published: u64,
}

impl Server {
    /// Without connections.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.info.auth_required = config.auth.is_required();
        config.info.max_payload = config.limits.payload_bytes_max;
        Self {
            routes: Routes::new(&config.limits),
            config,
            connections: BTreeMap::new(),
            alarms: BTreeSet::new(),
            published: 0,
        }
    }

    /// When it next wants a [`Input::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.alarms.first().map(|(due, _)| *due)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many subscriptions they have.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.routes.len()
    }

    /// Answers a fact.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut answers = Answers::default();
        self.handle_with(now, input, &mut Nobody, &mut answers);
        answers.into_effects().collect()
    }

    /// Answers a fact, beside a host.
    pub(crate) fn handle_with(&mut self, now: Now, input: Input, host: &mut dyn Host, answers: &mut Answers) {
        match input {
            Input::Connected { connection, address } => {
                self.on_connected(now, connection, address, answers);
            }
            Input::Received { connection, bytes } => self.on_received(now, connection, bytes, host, answers),
            Input::Disconnected { connection } => self.forget(connection),
            Input::Tick => self.on_tick(now, answers),
        }
    }

    /// Sends a message of the host's own to whoever listens. Whether anybody does.
    pub(crate) fn send(&mut self, message: Sent<'_>, answers: &mut Answers) -> bool {
        self.send_to(message.subject, message, answers)
    }

    /// Sends a message to whoever listens on an inbox, which need not be its subject. Whether anybody does.
    pub(crate) fn send_to(&mut self, inbox: &[u8], message: Sent<'_>, answers: &mut Answers) -> bool {
        let Sent { subject, reply, headers, payload } = message;
        let draw = self.draw();
        let receivers = self.routes.route(inbox, None, draw);
        for receiver in &receivers {
            let understands = self.connections.get(&receiver.connection).is_some_and(Connection::headers);
            let sid = &receiver.sid[..];
            let message = Message { subject, sid, reply, headers, payload };
            answers.to(receiver.connection).message(message, understands);
        }
        !receivers.is_empty()
    }

    /// Tells a client that nobody listens where it sent a request to, if it wants to know.
    pub(crate) fn refuse_request(
        &self,
        id: ConnectionId,
        subject: &[u8],
        reply: &[u8],
        answers: &mut Answers,
    ) {
        if self.connections.get(&id).is_some_and(Connection::no_responders)
            && subject::is_routable(reply)
            && let Some(listener) = self.routes.listener(id, reply)
        {
            // Not counted against the subscription's maximum, as on the real server.
            answers.to(id).no_responders(reply, &listener.sid, subject);
        }
    }

    /// Whether any client listens on a subject.
    pub(crate) fn has_listener(&self, subject: &[u8]) -> bool {
        self.routes.has_listener(subject)
    }

    /// Filters that got their first subscription or lost their last, in order, since this was last asked.
    pub(crate) fn take_interest_changes(&mut self) -> Vec<InterestChange> {
        self.routes.take_changes()
    }

    fn on_connected(&mut self, now: Now, id: ConnectionId, address: String, answers: &mut Answers) {
        let info = Info { client_id: id.0, client_ip: address, ..self.config.info.clone() };
        answers.to(id).info(&info);
        if self.connections.len() >= self.config.limits.connections_max {
            answers.to(id).violation(Violation::ConnectionsExceeded);
            answers.closed.push(id);
            return;
        }
        let connection = Connection::new(now, &self.config.limits, &self.config.auth);
        self.alarms.insert((connection.due, id));
        self.connections.insert(id, connection);
    }

    fn on_received(
        &mut self,
        now: Now,
        id: ConnectionId,
        mut bytes: Bytes,
        host: &mut dyn Host,
        answers: &mut Answers,
    ) {
        // Asked for anew each time: an operation may have closed it.
        while let Some(connection) = self.connections.get_mut(&id) {
            connection.heard = now.mono;
            match connection.parser.next(&mut bytes) {
                Ok(Some(operation)) => self.on_operation(now, id, operation, host, answers),
                Ok(None) => return,
                Err(violation) => self.refuse(id, violation, answers),
            }
        }
    }

    fn on_operation(
        &mut self,
        now: Now,
        id: ConnectionId,
        operation: Operation,
        host: &mut dyn Host,
        answers: &mut Answers,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match operation {
            Operation::Connect(connect) => {
                if !connection.hear(*connect, &self.config.auth) {
                    return self.refuse(id, Violation::Authorization, answers);
                }
                if connection.no_responders() && !connection.headers() {
                    return self.refuse(id, Violation::NoRespondersNeedHeaders, answers);
                }
                connection.parser.accept(connection.headers());
                let first = !std::mem::replace(&mut connection.admitted, true);
                self.accepted(id, answers);
                if first {
                    self.look_after(id, now.mono.plus_ms(self.config.limits.ping_interval_ms));
                }
            }
            Operation::Publish(publish) => self.publish(id, &publish, host, answers),
            Operation::Subscribe { subject, queue, sid } => {
                if !subject::is_filter(&subject) {
                    return self.refuse(id, Violation::InvalidSubject, answers);
                }
                match self.routes.subscribe(id, &sid, &subject, queue.as_deref()) {
                    Ok(()) => self.accepted(id, answers),
                    Err(_) => self.refuse(id, Violation::SubscriptionsExceeded, answers),
                }
            }
            Operation::Unsubscribe { sid, max } => {
                self.routes.unsubscribe(id, &sid, max);
                self.accepted(id, answers);
            }
            Operation::Ping => answers.to(id).pong(),
            Operation::Pong => connection.pings_out = 0,
        }
    }

    fn publish(&mut self, id: ConnectionId, publish: &Publish, host: &mut dyn Host, answers: &mut Answers) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Publish { subject, reply, headers, payload } = publish;
        // The real server complains, and delivers all the same.
        if connection.pedantic() && !subject::is_literal(subject) {
            answers.to(id).violation(Violation::InvalidPublishSubject);
        }
        let except = (!connection.echo()).then_some(id);
        self.accepted(id, answers);
        if !subject::is_routable(subject) {
            return self.unheard(id, publish, answers);
        }
        let draw = self.draw();
        let receivers = self.routes.route(subject, except, draw);
        for receiver in &receivers {
            let understands = self.connections.get(&receiver.connection).is_some_and(Connection::headers);
            let (sid, reply) = (&receiver.sid[..], reply.as_deref());
            let message = Message { subject, sid, reply, headers, payload };
            answers.to(receiver.connection).message(message, understands);
        }
        if !host.offer(id, publish) && receivers.is_empty() {
            self.unheard(id, publish, answers);
        }
    }

    fn unheard(&self, id: ConnectionId, publish: &Publish, answers: &mut Answers) {
        if let Some(reply) = &publish.reply {
            self.refuse_request(id, &publish.subject, reply, answers);
        }
    }

    fn draw(&mut self) -> u64 {
        self.published += 1;
        mix(self.config.seed ^ mix(self.published - 1))
    }

    fn on_tick(&mut self, now: Now, answers: &mut Answers) {
        while let Some(&(due, id)) = self.alarms.first().filter(|(due, _)| *due <= now.mono) {
            let Some(connection) = self.connections.get_mut(&id) else {
                unreachable!("{id:?} is looked after at {due:?}, but is gone");
            };
            let interval_ms = self.config.limits.ping_interval_ms;
            if !connection.admitted {
                self.refuse(id, Violation::AuthenticationTimeout, answers);
                continue;
            }
            // Who was heard need not be asked.
            if now.mono.ms_since(connection.heard) >= interval_ms {
                if connection.pings_out >= self.config.limits.pings_out_max {
                    self.refuse(id, Violation::StaleConnection, answers);
                    continue;
                }
                connection.pings_out += 1;
                answers.to(id).ping();
            }
            self.look_after(id, now.mono.plus_ms(interval_ms.max(1)));
        }
    }

    fn accepted(&self, id: ConnectionId, answers: &mut Answers) {
        if self.connections.get(&id).is_some_and(Connection::verbose) {
            answers.to(id).ok();
        }
    }

    fn refuse(&mut self, id: ConnectionId, violation: Violation, answers: &mut Answers) {
        answers.to(id).violation(violation);
        if violation.closes() {
            self.forget(id);
            answers.closed.push(id);
        }
    }

    fn look_after(&mut self, id: ConnectionId, due: Mono) {
        if let Some(connection) = self.connections.get_mut(&id) {
            self.alarms.remove(&(connection.due, id));
            connection.due = due;
            self.alarms.insert((due, id));
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            self.alarms.remove(&(connection.due, id));
            self.routes.remove(id);
        }
    }
}
