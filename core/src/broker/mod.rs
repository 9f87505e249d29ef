//! The broker whole: a NATS server with JetStream, from bytes to bytes, without I/O.
//!
//! ```text
//!  Connected, Received, Disconnected ─► nats::Server ─────────────────────────► Send, Close
//!                                        │ offered      ▲ messages to whoever listens
//!                                        ▼              │
//!                          Captured ─► what is it? ─► JetStream ─► rows
//!                                      API call, ack, publish into a stream
//! ```
//!
//! Every message JetStream wants is a step of its own, so that it sees what the one before stored; what many steps send to
//! one connection leaves as one piece ([`Input::Gathered`]). As with every machine, nothing leaves before the commit:
//! a publisher's ack means that the message is as durable as the store's commit.
//!
//! Nothing of the connections is durable: after a restart clients come again. What is durable is JetStream's.
//!
//! - Limits: those of [`nats::Limits`](crate::nats::Limits) and [`jetstream::Limits`]; one
//!   `Received` has at most [`RECEIVED_BYTES_MAX`] bytes.
//! - Never: sockets, TLS, files. Replication.

mod call;
mod decode;
mod encode;
mod interest;
mod send;
#[cfg(test)]
mod tests;

use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::jetstream::{self, JetStream};
use crate::nats::server::{Answers, Host, Server};
use crate::nats::{ConnectionId, Publish, server};
use crate::store::View;
use crate::time::{Mono, Now};
use bytes::Bytes;
use call::Call;

/// Most bytes of one [`server::Input::Received`]: bounds the steps that one input may cause.
pub const RECEIVED_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the shortest operation that JetStream may want, `PUB a 0` with its line breaks.
const OPERATION_BYTES_MIN: usize = 11;

/// What a broker is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The server of clients.
    pub server: server::Config,
    /// Bounds of JetStream; without any, it is off.
    pub jetstream: Option<jetstream::Limits>,
    /// The name under which clients may ask for this JetStream, besides the usual one.
    pub domain: Option<String>,
}

/// Facts the broker answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Something happened to a client.
    Client(server::Input),
    /// A client published what JetStream wants. The broker tells itself.
    Captured(Captured),
    /// Something happened that concerns JetStream alone. The broker tells itself.
    Engine(Box<jetstream::Input>),
    /// What the steps before have to send is complete. The broker tells itself.
    Gathered,
    /// The process is about to stop in good order.
    Stopping,
    /// Time has passed.
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

/// A message on its way into JetStream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// Who sent it; nobody, if the broker itself did.
    from: Option<ConnectionId>,
    publish: Publish,
}

/// What the broker waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// To look after a connection.
    Connection,
    /// Something of JetStream's.
    Engine(jetstream::Timer),
}

/// The broker. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Broker {
    server: Server,
    engine: Option<JetStream>,
    domain: Option<String>,
    /// What this server is called.
    name: String,
    /// What the steps of this turn have to send so far; empty between turns.
    answers: Answers,
    /// [`Input::Gathered`] is on its way.
    gathering: bool,
}

/// Collects what JetStream wants of what a client published.
struct Capturing<'b> {
    engine: Option<&'b JetStream>,
    domain: Option<&'b str>,
    captured: Vec<Captured>,
}

impl Host for Capturing<'_> {
    fn offer(&mut self, from: ConnectionId, publish: &Publish) -> bool {
        let Some(engine) = self.engine else { return false };
        let wanted = call::is_wanted(engine, self.domain, &publish.subject);
        if wanted {
            self.captured.push(Captured { from: Some(from), publish: publish.clone() });
        }
        wanted
    }
}

impl Machine for Broker {
    type Config = Config;
    type Input = Input;
    type Effect = server::Effect;
    type Timer = Timer;
    type Durable = Option<jetstream::DurableState>;

    // Each operation is a step, and may wake consumers, which is another; then what they caused is sent.
    const CASCADE_STEPS_MAX: usize = 4 * RECEIVED_BYTES_MAX / OPERATION_BYTES_MIN;

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let Config { mut server, jetstream, domain } = config;
        server.info.jetstream = jetstream.is_some();
        let name = server.info.server_name.clone();
        let engine = jetstream.map(|limits| JetStream::recover(limits, incarnation, view)).transpose()?;
        let mut server = Server::new(server);
        server.take_interest_changes();
        Ok(Self { server, engine, domain, name, answers: Answers::default(), gathering: false })
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, server::Effect>) -> Result<(), Halt> {
        match input {
            Input::Client(input) => self.on_client(now, input, cx),
            Input::Captured(captured) => self.on_captured(now, captured, cx)?,
            Input::Engine(input) => self.run_engine(now, *input, None, cx)?,
            Input::Gathered => self.on_gathered(cx),
            Input::Stopping => self.run_engine(now, jetstream::Input::Stopping, None, cx)?,
            Input::Tick(Tick) => self.on_tick(now, cx)?,
        }
        if !self.gathering && !self.answers.is_empty() {
            self.gathering = true;
            cx.then(Input::Gathered);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        let engine = self.engine.as_ref().and_then(JetStream::deadline);
        let engine = engine.map(|(at, timer)| (at, Timer::Engine(timer)));
        let connection = self.server.deadline().map(|at| (at, Timer::Connection));
        [engine, connection].into_iter().flatten().min()
    }

    fn durable(&self) -> Self::Durable {
        self.engine.as_ref().map(JetStream::durable)
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.engine.as_ref().map_or(Ok(()), |engine| engine.check(view))
    }
}

impl Broker {
    /// The server of clients, to look at.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// JetStream, to look at.
    #[must_use]
    pub const fn jetstream(&self) -> Option<&JetStream> {
        self.engine.as_ref()
    }

    fn on_client(&mut self, now: Now, input: server::Input, cx: &mut Cx<'_, Input, server::Effect>) {
        let (engine, domain) = (self.engine.as_ref(), self.domain.as_deref());
        let mut host = Capturing { engine, domain, captured: Vec::new() };
        self.server.handle_with(now, input, &mut host, &mut self.answers);
        for captured in host.captured {
            cx.then(Input::Captured(captured));
        }
        self.follow_interest(cx);
    }

    fn on_captured(
        &mut self,
        now: Now,
        captured: Captured,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) -> Result<(), Halt> {
        let Captured { from, publish } = captured;
        match call::read(self.domain.as_deref(), &publish) {
            Call::Engine(input) => {
                let asked = Asked { from, publish: &publish, api: None };
                self.run_engine(now, input, Some(asked), cx)
            }
            Call::Api { api, request } => {
                let asked = Asked { from, publish: &publish, api: Some(api) };
                match request {
                    Ok(input) => {
                        let deliver_subject = call::deliver_subject(&input);
                        self.run_engine(now, input, Some(asked), cx)?;
                        self.greet(deliver_subject, cx);
                        Ok(())
                    }
                    Err(error) => {
                        self.refuse(&asked, api, error);
                        Ok(())
                    }
                }
            }
            Call::Malformed { stream } => {
                self.refuse_direct_get(from, &publish, &stream);
                Ok(())
            }
            Call::Ignored => Ok(()),
        }
    }

    fn on_gathered(&mut self, cx: &mut Cx<'_, Input, server::Effect>) {
        self.gathering = false;
        for effect in std::mem::take(&mut self.answers).into_effects() {
            cx.emit(effect);
        }
    }

    fn on_tick(&mut self, now: Now, cx: &mut Cx<'_, Input, server::Effect>) -> Result<(), Halt> {
        if self.server.deadline().is_some_and(|at| at <= now.mono) {
            self.on_client(now, server::Input::Tick, cx);
        }
        if self.engine.as_ref().and_then(JetStream::deadline).is_some_and(|(at, _)| at <= now.mono) {
            self.run_engine(now, Tick.into(), None, cx)?;
        }
        Ok(())
    }

    /// Lets JetStream answer a fact, and sends what it has to say.
    fn run_engine(
        &mut self,
        now: Now,
        input: jetstream::Input,
        asked: Option<Asked<'_>>,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) -> Result<(), Halt> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let mut effects = Vec::new();
        cx.within(|input| Input::Engine(Box::new(input)), &mut effects, |cx| engine.handle(now, input, cx))?;
        for effect in effects {
            self.send_effect(effect, asked.as_ref(), cx);
        }
        self.follow_interest(cx);
        Ok(())
    }

    fn unheard(&mut self, from: Option<ConnectionId>, publish: &Publish) {
        if let (Some(from), Some(reply)) = (from, &publish.reply) {
            self.server.refuse_request(from, &publish.subject, reply, &mut self.answers);
        }
    }
}

/// What made JetStream say what it says.
#[derive(Clone, Copy)]
struct Asked<'a> {
    from: Option<ConnectionId>,
    publish: &'a Publish,
    api: Option<call::Api>,
}

/// No bytes: what most messages have for headers.
static NOTHING: Bytes = Bytes::new();
