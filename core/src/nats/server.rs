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
//! | `LameDuckBegan` | an `INFO` that says so, to all who understand one at any time |
//! | `Reconfigured` | who may not come any more is closed |
//! | `Tick` | a `PING` to who was silent; who leaves too many unanswered, or does not say who he is, is closed |
//!
//! Nothing is durable, so this is no [`Machine`](crate::Machine): a plain value, whose effects may leave at once. An
//! input for a connection that is closed changes nothing.
//!
//! - Limits: connections, their subscriptions, and per connection what a parser holds and one `CONNECT`. What one
//!   `Received` makes others be sent is bounded only by its length times the subscriptions: payloads are shared. Who
//!   performs the effects counts what a connection has not taken yet, and cuts a slow one without a word.
//! - Each account has subjects of its own. The host is in one of them, and hears and reaches nobody else.
//! - Differences to the real server: no `PING` that only measures the way; times are exact, not jittered.
//! - Not here: TLS, JetStream.

use super::auth::Auth;
use super::connection::{Arrival, Connection};
use super::routes::{InterestChange, Routes};
use super::{ConnectionId, Info, Limits, Operation, Outgoing, Publish, Violation, subject};
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
    /// The account the host is in.
    pub host_account: String,
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
        /// What it may sign to say who it is; never used before.
        nonce: Option<String>,
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
    /// The server is to leave: nobody new comes any more, and who is there is closed by and by.
    LameDuckBegan,
    /// Other things hold from now on.
    Reconfigured {
        /// Who may come, and stay.
        auth: Auth,
        /// Bounds, for what is new.
        limits: Limits,
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
    pub(super) fn to(&mut self, connection: ConnectionId) -> &mut Outgoing {
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

/// Somebody who is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// Its number.
    pub connection: ConnectionId,
    /// Where it comes from.
    pub address: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// Which library it uses.
    pub lang: Option<String>,
    /// Which version of it.
    pub version: Option<String>,
    /// Where it belongs, once it is admitted.
    pub account: Option<String>,
    /// How many subscriptions it has.
    pub subscriptions: usize,
}

/// Messages and their bytes, subjects aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Messages of clients.
    pub in_messages: u64,
    /// Bytes of them.
    pub in_bytes: u64,
    /// Messages to clients.
    pub out_messages: u64,
    /// Bytes of them.
    pub out_bytes: u64,
}

/// A server. See the module text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    pub(super) config: Config,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// The subscriptions of each account that has had any.
    pub(super) routes: BTreeMap<String, Routes>,
    /// When to look after whom: the `due` of every connection.
    alarms: BTreeSet<(Mono, ConnectionId)>,
    /// Messages so far: each is another draw for queue groups.
    pub(super) published: u64,
    pub(super) traffic: Traffic,
    /// The time of the last fact.
    pub(super) now: Mono,
}

impl Server {
    /// Without connections.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.info.auth_required = !config.auth.is_open();
        config.info.max_payload = config.limits.payload_bytes_max;
        Self {
            routes: [(config.host_account.clone(), Routes::new(&config.limits))].into(),
            config,
            connections: BTreeMap::new(),
            alarms: BTreeSet::new(),
            published: 0,
            traffic: Traffic::default(),
            now: Mono::ZERO,
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
        self.routes.values().map(Routes::len).sum()
    }

    /// Answers a fact.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut answers = Answers::default();
        self.handle_with(now, input, &mut Nobody, &mut answers);
        answers.into_effects().collect()
    }

    /// Answers a fact, beside a host.
    pub(crate) fn handle_with(&mut self, now: Now, input: Input, host: &mut dyn Host, answers: &mut Answers) {
        self.now = now.mono;
        match input {
            Input::Connected { connection, address, nonce } => {
                self.on_connected(now, connection, Arrival { address, nonce }, answers);
            }
            Input::Received { connection, bytes } => self.on_received(now, connection, bytes, host, answers),
            Input::Disconnected { connection } => self.forget(connection),
            Input::LameDuckBegan => self.on_lame_duck_began(answers),
            Input::Reconfigured { auth, limits } => self.on_reconfigured(auth, limits, answers),
            Input::Tick => self.on_tick(now, answers),
        }
    }

    /// Whether any client listens on a subject.
    pub(crate) fn has_listener(&self, subject: &[u8]) -> bool {
        self.routes.get(&self.config.host_account).is_some_and(|routes| routes.has_listener(subject))
    }

    /// Whether any client listens on a subject as a member of this queue group, or of none.
    pub(crate) fn has_member(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let routes = self.routes.get(&self.config.host_account);
        routes.is_some_and(|routes| routes.has_member(subject, queue))
    }

    /// Filters that got their first subscription or lost their last, in order, since this was last asked.
    pub(crate) fn take_interest_changes(&mut self) -> Vec<InterestChange> {
        self.routes.get_mut(&self.config.host_account).map(Routes::take_changes).unwrap_or_default()
    }

    fn on_connected(&mut self, now: Now, id: ConnectionId, arrival: Arrival, answers: &mut Answers) {
        let auth = &self.config.auth;
        answers.to(id).info(&Info {
            client_id: id.0,
            client_ip: arrival.address.clone(),
            // Who need not say who it is is not asked to.
            auth_required: auth.stranger().is_none(),
            nonce: arrival.nonce.clone().filter(|_| auth.has_keys()),
            ..self.config.info.clone()
        });
        if self.connections.len() >= self.config.limits.connections_max {
            answers.to(id).violation(Violation::ConnectionsExceeded);
            answers.closed.push(id);
            return;
        }
        let connection = Connection::new(now, &self.config.limits, &self.config.auth, arrival);
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
                let before = connection.account().map(str::to_owned);
                if !connection.hear(*connect, &self.config.auth) {
                    return self.refuse(id, Violation::Authorization, answers);
                }
                if before.as_deref() != connection.account() {
                    // What it subscribed to as a member of another account is not its own any more.
                    self.routes.values_mut().for_each(|routes| routes.remove(id));
                }
                if connection.no_responders() && !connection.headers() {
                    return self.refuse(id, Violation::NoRespondersNeedHeaders, answers);
                }
                connection.parser.accept(connection.headers());
                self.accepted(id, answers);
                if before.is_none() {
                    self.look_after(id, now.mono.plus_ms(self.config.limits.ping_interval_ms));
                }
            }
            Operation::Publish(publish) => self.publish(id, &publish, host, answers),
            Operation::Subscribe { subject, queue, sid } => {
                if !connection.may_subscribe(&subject, queue.as_deref()) {
                    return answers.to(id).subscription_denied(&subject, queue.as_deref());
                }
                if !subject::is_filter(&subject) {
                    return self.refuse(id, Violation::InvalidSubject, answers);
                }
                if self.subscribe(id, &sid, &subject, queue.as_deref()) {
                    self.accepted(id, answers);
                } else {
                    self.refuse(id, Violation::SubscriptionsExceeded, answers);
                }
            }
            Operation::Unsubscribe { sid, max } => {
                if let Some(routes) = self.routes_of(id) {
                    routes.unsubscribe(id, &sid, max);
                }
                self.accepted(id, answers);
            }
            Operation::Ping => {
                answers.to(id).pong();
                if connection.acquaint() {
                    self.tell(id, true, answers);
                }
            }
            Operation::Pong => connection.pings_out = 0,
        }
    }

    fn on_lame_duck_began(&mut self, answers: &mut Answers) {
        self.config.info.ldm = true;
        for (id, connection) in &self.connections {
            if connection.acquainted {
                self.tell(*id, false, answers);
            }
        }
    }

    fn on_reconfigured(&mut self, auth: Auth, limits: Limits, answers: &mut Answers) {
        self.config.info.auth_required = !auth.is_open();
        self.config.info.max_payload = limits.payload_bytes_max;
        self.config.auth = auth;
        self.config.limits = limits;
        let mut unwanted = Vec::new();
        for (id, connection) in &mut self.connections {
            let (before, was_admitted) = (connection.account().map(str::to_owned), connection.is_admitted());
            // Subscriptions stay in the account they were made in, so nobody is moved to another.
            if was_admitted
                && (!connection.judge(&self.config.auth) || connection.account() != before.as_deref())
            {
                unwanted.push(*id);
            }
        }
        unwanted.into_iter().for_each(|id| self.refuse(id, Violation::Authorization, answers));
    }

    /// An `INFO` in the middle of a conversation.
    fn tell(&self, id: ConnectionId, connect_info: bool, answers: &mut Answers) {
        let Some(connection) = self.connections.get(&id) else { return };
        answers.to(id).info(&Info {
            client_id: id.0,
            client_ip: connection.arrival.address.clone(),
            connect_info,
            remote_account: connection.account().filter(|_| connect_info).map(str::to_owned),
            ..self.config.info.clone()
        });
    }

    /// Whether there was room.
    fn subscribe(&mut self, id: ConnectionId, sid: &[u8], filter: &[u8], queue: Option<&[u8]>) -> bool {
        let limits = self.config.limits;
        let full = self.subscriptions() >= limits.subscriptions_max;
        let Some(account) = self.connections.get(&id).and_then(Connection::account) else { return false };
        if !self.routes.contains_key(account) {
            self.routes.insert(account.to_owned(), Routes::new(&limits));
        }
        let Some(routes) = self.routes.get_mut(account) else { return false };
        (!full || routes.knows(id, sid)) && routes.subscribe(id, sid, filter, queue).is_ok()
    }

    fn routes_of(&mut self, id: ConnectionId) -> Option<&mut Routes> {
        let account = self.connections.get(&id)?.account()?;
        self.routes.get_mut(account)
    }

    fn on_tick(&mut self, now: Now, answers: &mut Answers) {
        while let Some(&(due, id)) = self.alarms.first().filter(|(due, _)| *due <= now.mono) {
            let Some(connection) = self.connections.get_mut(&id) else {
                unreachable!("{id:?} is looked after at {due:?}, but is gone");
            };
            let interval_ms = self.config.limits.ping_interval_ms;
            if !connection.is_admitted() {
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

    pub(super) fn accepted(&self, id: ConnectionId, answers: &mut Answers) {
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
            self.routes.values_mut().for_each(|routes| routes.remove(id));
        }
    }
}
