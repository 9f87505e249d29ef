//! Faults that belong to no turn and to no single message, and people who do what people do.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::app::shop;
use crate::oracles::{Injected, Violation};
use crate::plan::KEEP_MS_LONG;
use cloudlysis_core::jetstream::{Fault, Input, PullStatus, Request, StoredMessage};
use cloudlysis_core::outbox::{Body, Destination, Row};
use cloudlysis_core::runner::Source;
use cloudlysis_core::wire::headers::{Headers, NATS_MSG_ID};
use cloudlysis_core::wire::id::CommandId;
use cloudlysis_core::wire::stream::{ConsumerName, ConsumerRole, PlatformStream};
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Table, View};
use std::ops::ControlFlow;

/// The durable consumers of the application.
pub(crate) fn consumers() -> Vec<(PlatformStream, ConsumerName)> {
    let app = shop();
    let views = app.projections.keys().map(|view| {
        let name = ConsumerName::new(ConsumerRole::Projection, Some(view), 0);
        (PlatformStream::AggregateEvents, name)
    });
    let roles = [
        (Source::Events.stream(), ConsumerRole::SagaEvents),
        (Source::Results.stream(), ConsumerRole::SagaResults),
        (Source::Commands.stream(), ConsumerRole::EffectCommands),
    ];
    let sources = roles.map(|(stream, role)| (stream, ConsumerName::new(role, None, 0)));
    views.chain(sources).collect()
}

impl World {
    /// Something may go wrong at the broker whenever it is asked for something.
    pub(super) fn broker_trouble(&mut self) {
        if self.strikes(self.faults.broker_crash) {
            self.crash_broker();
            return;
        }
        if self.strikes(self.faults.connection_cut) {
            let ids = self.node_ids();
            let id = *self.dice.faults.pick(&ids);
            self.note(|| format!("{id} is cut off"));
            self.disconnect_node(id);
        }
        if self.strikes(self.faults.slow_network) {
            let until = self.now_ns + self.dice.faults.within(100, 8_000) * MS;
            let factor = *self.dice.faults.pick(&[10, 100, 1_000]);
            self.note(|| format!("everything takes {factor} times as long"));
            self.network.slow_down(until, factor);
        }
        if self.strikes(self.faults.broker_moves) {
            let fault = self.draw_broker_fault();
            self.order_of_broker(Input::Faulted(fault));
        }
        if self.strikes(self.faults.consumer_deleted) {
            let (stream, consumer) = self.draw_consumer();
            let request = Request::ConsumerDelete { stream, consumer };
            self.order_of_broker(Input::Requested { reply: "operator".to_owned(), request });
        }
        if self.strikes(self.faults.node_kill) {
            self.people_or_kernel(|world, id| drop(world.kill_between_turns(id)));
        }
        if self.strikes(self.faults.drain) {
            let deadline_ms = self.dice.faults.within(0, 6_000);
            self.people_or_kernel(|world, id| world.drain_node(id, deadline_ms));
        }
        if self.strikes(self.faults.clock_jump) {
            let by = i64::try_from(self.dice.faults.below(1_200_000)).unwrap_or_default() - 600_000;
            self.people_or_kernel(|world, id| world.jump_clock(id, by));
        }
        // Whoever repeats an event later than what it caused is kept causes it again.
        if self.plan.keep_ms == KEEP_MS_LONG && self.strikes(self.faults.republish) {
            self.republish();
        }
        if self.strikes(self.faults.poison) {
            self.poison();
        }
        if self.strikes(self.faults.rollback) {
            self.back_up_or_restore();
        }
    }

    fn people_or_kernel(&mut self, act: impl FnOnce(&mut Self, NodeId)) {
        let ids = self.node_ids();
        let id = *self.dice.faults.pick(&ids);
        if self.is_up(id) {
            act(self, id);
        }
    }

    /// Straight into the broker, as soon as it is done with the present request.
    fn order_of_broker(&mut self, input: Input) {
        let life = self.broker_life;
        self.after(1, Event::ToBroker { node: None, life, input: Box::new(input) });
    }

    fn draw_consumer(&mut self) -> (String, String) {
        let consumers = consumers();
        let (stream, consumer) = self.dice.faults.pick(&consumers);
        (stream.name().to_owned(), consumer.to_string())
    }

    fn draw_broker_fault(&mut self) -> Fault {
        let (stream, consumer) = self.draw_consumer();
        let rng = &mut self.dice.faults;
        match rng.below(4) {
            0 => {
                let told = if rng.one_in(2) { Some(PullStatus::LeadershipChange) } else { None };
                Fault::PullsLost { stream, consumer, told }
            }
            1 => Fault::ConsumerRolledBack { stream, consumer },
            2 => {
                let last = self
                    .broker
                    .engine()
                    .and_then(|engine| engine.stream(&stream))
                    .map_or(0, |s| s.state.last_seq);
                Fault::AckWaitEnded { stream, consumer, stream_seq: rng.within(0, last) }
            }
            _ => {
                let id = self
                    .draw_stored(&stream)
                    .and_then(|message| message.headers.text(NATS_MSG_ID).map(str::to_owned));
                Fault::IdsForgotten { stream, ids: id.into_iter().collect() }
            }
        }
    }

    fn draw_stored(&mut self, stream: &str) -> Option<StoredMessage> {
        let last = self.broker.engine()?.stream(stream)?.state.last_seq;
        let from = self.dice.faults.within(1, last.max(1));
        self.broker.log(stream, from).ok()?.into_iter().next()
    }

    /// Somebody publishes a stored message again, long after its id was forgotten.
    fn republish(&mut self) {
        let stream = *self.dice.faults.pick(&PlatformStream::ALL);
        let Some(message) = self.draw_stored(stream.name()) else { return };
        if self.oracles.is_injected(stream, message.seq) {
            return;
        }
        let ids = message.headers.text(NATS_MSG_ID).map(str::to_owned).into_iter().collect();
        let sent = message.headers.to_headers();
        let headers: Headers = sent.iter().filter(|(name, _)| !name.starts_with("Nats-Expected")).collect();
        self.order_of_broker(Input::Faulted(Fault::IdsForgotten { stream: stream.name().to_owned(), ids }));
        self.inject(Injected::Again, &message.subject, headers, message.payload);
    }

    /// Somebody publishes what nobody can read: under the subject of an order that may suffer it, of no effect, or of one that
    /// is about to be asked for.
    fn poison(&mut self) {
        let garbage =
            *self.dice.faults.pick(&["not JSON", "{}", "[]", "{\"event_type\":\"order_teleported\"}"]);
        let victims: Vec<_> = self.clients.orders.iter().filter(|order| order.victim).collect();
        let mut subjects: Vec<String> = Vec::new();
        for order in victims {
            let kind = cloudlysis_core::wire::id::Name::parse("order").expect("a name");
            let route = Route::Aggregate { tenant: order.tenant.clone(), kind, id: order.id.clone() };
            if self.oracles.has_events(route.subject().as_str()) {
                subjects.push(route.subject().to_string());
                // Anybody may publish under a subject that goes on where one of ours ends.
                subjects.push(format!("{}:more", route.subject()));
            }
        }
        let command = CommandId::parse(&format!("garbage-{}", self.current)).expect("an id");
        for (name, class) in [("charge_card", "effect"), ("charge_card", "effect_result")] {
            subjects.push(format!("tenant.t1.{class}.{name}.{}", command.token()));
        }
        let charges = self.charges_about_to_leave();
        let forges = !charges.is_empty() && self.dice.faults.one_in(2);
        let subject = self.dice.faults.pick(if forges { &charges } else { &subjects }).clone();
        // An envelope without required fields is tolerated as an effect command: only what is not JSON is garbage there.
        let garbage = if subject.contains(".effect.") { "not JSON" } else { garbage };
        self.inject(
            Injected::Poison,
            &subject,
            Headers::default(),
            bytes::Bytes::from_static(garbage.as_bytes()),
        );
    }

    /// Subjects that charges in the outbox will ask for. Whoever takes one first has the charge refused; a refund's would leave
    /// its saga to a person.
    fn charges_about_to_leave(&self) -> Vec<String> {
        let mut subjects = Vec::new();
        let rows = self.nodes.runner.store.committed();
        // A row that cannot be read is for the oracles.
        let _ = rows.scan(Table::Outbox, b"", &mut |_, row| {
            if let Ok(Row { entry, .. }) = Row::decode(row)
                && let Body::Message { stream: Destination::Commands, subject, .. } = &entry.body
                && subject.contains(".effect.charge_card.")
            {
                subjects.push(subject.to_string());
            }
            ControlFlow::Continue(())
        });
        subjects
    }

    fn inject(&mut self, what: Injected, subject: &str, headers: Headers, payload: bytes::Bytes) {
        let mut headers = headers;
        headers.append(what.header(), "1");
        let publish = cloudlysis_core::jetstream::Publish {
            subject: subject.to_owned(),
            reply: None,
            headers: headers.into(),
            payload,
        };
        self.order_of_broker(Input::Published(publish));
    }

    /// The views' disk is copied; or it is lost, and the copy put in its place.
    fn back_up_or_restore(&mut self) {
        let node = &mut self.nodes.projection;
        match self.backup.take() {
            None => self.backup = Some(node.store.clone()),
            Some(backup) => {
                if node.life.is_some() {
                    drop(self.kill_between_turns(NodeId::Projection));
                }
                self.note(|| "the views are restored from a backup".to_owned());
                self.nodes.projection.store = backup;
                self.oracles.on_restored();
            }
        }
    }

    /// Faults end: whatever is away comes back.
    pub(super) fn on_healed(&mut self) -> Result<(), Violation> {
        self.calm_down();
        let ahead_ms = self.nodes.runners().map(|node| node.wall_ahead_ms_max).max().unwrap_or(0);
        self.healed_at = Some(self.now_ns + ahead_ms * MS);
        self.on_broker_started()?;
        self.after(MS, Event::Looked);
        Ok(())
    }
}
