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
use super::routes::Routes;
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

/// What one input causes.
#[derive(Default)]
struct Answers {
    outgoing: BTreeMap<ConnectionId, Outgoing>,
    closed: Vec<ConnectionId>,
}

impl Answers {
    fn to(&mut self, connection: ConnectionId) -> &mut Outgoing {
        self.outgoing.entry(connection).or_default()
    }

    fn into_effects(self) -> Vec<Effect> {
        let sends = self.outgoing.into_iter().flat_map(|(connection, outgoing)| {
            outgoing.into_pieces().into_iter().map(move |bytes| Effect::Send { connection, bytes })
        });
        let closes = self.closed.into_iter().map(|connection| Effect::Close { connection });
        sends.chain(closes).collect()
    }
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
        match input {
            Input::Connected { connection, address } => {
                self.on_connected(now, connection, address, &mut answers);
            }
            Input::Received { connection, bytes } => self.on_received(now, connection, bytes, &mut answers),
            Input::Disconnected { connection } => self.forget(connection),
            Input::Tick => self.on_tick(now, &mut answers),
        }
        answers.into_effects()
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

    fn on_received(&mut self, now: Now, id: ConnectionId, mut bytes: Bytes, answers: &mut Answers) {
        // Asked for anew each time: an operation may have closed it.
        while let Some(connection) = self.connections.get_mut(&id) {
            connection.heard = now.mono;
            match connection.parser.next(&mut bytes) {
                Ok(Some(operation)) => self.on_operation(now, id, operation, answers),
                Ok(None) => return,
                Err(violation) => self.refuse(id, violation, answers),
            }
        }
    }

    fn on_operation(&mut self, now: Now, id: ConnectionId, operation: Operation, answers: &mut Answers) {
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
            Operation::Publish(publish) => self.publish(id, &publish, answers),
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

    fn publish(&mut self, id: ConnectionId, publish: &Publish, answers: &mut Answers) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Publish { subject, reply, headers_len, payload } = publish;
        // The real server complains, and delivers all the same.
        if connection.pedantic() && !subject::is_literal(subject) {
            answers.to(id).violation(Violation::InvalidPublishSubject);
        }
        self.accepted(id, answers);
        let except = (!connection.echo()).then_some(id);
        let draw = mix(self.config.seed ^ mix(self.published));
        self.published += 1;
        let receivers =
            if subject::is_routable(subject) { self.routes.route(subject, except, draw) } else { Vec::new() };
        for receiver in &receivers {
            let understands = self.connections.get(&receiver.connection).is_some_and(Connection::headers);
            let (sid, reply, headers_len) = (&receiver.sid[..], reply.as_deref(), *headers_len);
            let message = Message { subject, sid, reply, headers_len, payload };
            answers.to(receiver.connection).message(message, understands);
        }
        let Some(reply) = reply.as_ref().filter(|_| receivers.is_empty() && connection.no_responders())
        else {
            return;
        };
        // Not counted against the subscription's maximum, as on the real server.
        if subject::is_routable(reply)
            && let Some(listener) = self.routes.listener(id, reply)
        {
            answers.to(id).no_responders(reply, &listener.sid, subject);
        }
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
