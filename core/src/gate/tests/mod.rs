//! A gate on a bench, with a log of what it let through.

mod exhaustive;
mod fences;
mod properties;
mod script;
mod tenants;

use super::{
    Admission, Admitted, Checkpoint, Config, Delivery, Effect, Gate, Limits, Standing, Timer, Witness,
};
use crate::bench::{Bench, Exam, Landed, Sent, Upstream, examine, quirks};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::outcome::Token;
use crate::placement::Tenants;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::headers::Headers;
use crate::wire::keys;
use crate::wire::stream::{ConsumerName, ConsumerRole, PlatformStream};
use crate::wire::subject::Filter;
use std::ops::ControlFlow;

pub(crate) const EXAM: Exam = &[
    (Quirk::GateResumeTooFar, script::the_consumer_is_made_anew_as_our_own_checkpoint_says),
    (Quirk::GateIgnoreGap, script::a_skipped_delivery_is_not_applied_and_the_consumer_is_positioned_anew),
    (Quirk::GateTrustAckFloor, script::the_consumer_is_made_anew_as_our_own_checkpoint_says),
    (
        Quirk::GateTrustSequence,
        fences::an_end_that_was_written_anew_is_noticed_though_it_is_as_long_as_before,
    ),
    (Quirk::GateIgnoreHole, fences::a_hole_in_what_was_applied_is_noticed),
    (Quirk::GateNeverAudit, fences::a_bound_gate_looks_now_and_then_whether_its_stream_is_what_it_was),
    (
        Quirk::GateBelieveAtOnce,
        fences::a_stream_that_contradicts_only_for_a_while_does_not_stop_the_partition,
    ),
    (Quirk::GateIgnoreOwner, fences::an_owner_that_was_met_is_there_while_its_consumer_is_away),
    (Quirk::GateIgnoreRival, fences::no_tenant_is_in_two_partitions_and_who_met_the_other_one_stays_away),
    (Quirk::GateIgnoreStop, script::a_stopped_gate_takes_nothing_in_and_wants_nothing),
    (Quirk::GateForgetPublished, fences::a_message_of_our_own_that_is_not_there_any_more_is_noticed),
    (Quirk::GateJoinForgets, tenants::who_joins_is_caught_up_with_and_then_all_go_on),
    (Quirk::GateJoinTooSoon, tenants::who_joins_is_caught_up_with_and_then_all_go_on),
    (Quirk::GateCheckpointLate, script::what_is_applied_is_contiguous_over_messages_of_others),
];

#[test]
fn every_fault_of_a_gate_is_noticed() {
    examine(EXAM);
}

const LIMITS: Limits = Limits {
    batch: 4,
    in_flight_max: 6,
    ack_wait_ms: 30_000,
    pull_expires_ms: 30_000,
    heartbeat_ms: 5_000,
    request_timeout_ms: 2_000,
    confirm_ms: 0,
    audit_ms: 3_600_000,
    rebind_ms: 100,
    rebind_ms_max: 1_000,
};

/// A message whose body is this cannot be applied.
const POISON: &[u8] = b"poison";

/// A gate, and a table that stands for whatever its messages cause: the sequences applied, in order.
#[derive(Clone, PartialEq, Debug)]
struct Gated(Gate);

#[derive(Clone, PartialEq, Debug)]
enum Input {
    Gate(super::Input),
    Delivered(Delivery),
    Published(u64, Witness),
    Stopped,
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

impl From<Sent> for Input {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Fact(input) => Self::Gate(input),
            Sent::Message(delivery) => Self::Delivered(delivery),
        }
    }
}

fn applied(view: &dyn View) -> Vec<u64> {
    let mut out = Vec::new();
    view.scan(Table::View, b"", &mut |_, row| {
        out.push(keys::parse_position(row).expect("a sequence"));
        ControlFlow::Continue(())
    })
    .expect("reads");
    out
}

impl Machine for Gated {
    type Config = Config;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = Checkpoint;

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self(Gate::recover(config, incarnation, view)?))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        match input {
            Input::Gate(input) => self.0.handle(now, input, cx)?,
            Input::Delivered(delivery) => match self.0.admit(now, &delivery, cx) {
                Admission::Drop => {}
                Admission::Apply => {
                    let at = applied(cx.view()).len() as u64;
                    cx.put(Table::View, &keys::position(at), &keys::position(delivery.stream_seq));
                    let admitted = Admitted::of(&delivery);
                    if delivery.payload == POISON {
                        self.0.parked(admitted, "poison", cx)?;
                    } else {
                        self.0.applied(admitted, cx)?;
                    }
                }
            },
            Input::Published(seq, witness) => self.0.published(seq, witness, cx),
            Input::Stopped => self.0.stop(),
            Input::Tick(Tick) => self.0.tick(now, cx),
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        self.0.deadline()
    }

    fn durable(&self) -> Checkpoint {
        self.0.checkpoint().clone()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view)
    }
}

fn config() -> Config {
    let view = "orders".parse().expect("a name");
    Config {
        consumer: ConsumerName::new(ConsumerRole::Projection, Some(&view), 0),
        stream: PlatformStream::AggregateEvents,
        filters: vec![Filter::parse("tenant.*.aggregate.order.*").expect("a filter")],
        tenants: Tenants::All,
        narrows: false,
        store_id: "store-a".into(),
        adopt: false,
        rereads: false,
        limits: LIMITS,
        seed: 7,
        quirks: quirks(),
    }
}

const MATCHING: &str = "tenant.acme.aggregate.order.o-1";
const OTHER: &str = "tenant.acme.aggregate.stock.tea";

fn stream(messages: u64) -> Upstream {
    let mut upstream = Upstream::new();
    for _ in 0..messages {
        upstream.store(MATCHING, Headers::default(), "x");
    }
    upstream
}

fn bench() -> Bench<Gated> {
    Bench::new(config())
}

/// What was applied, as the committed table says.
fn log(bench: &Bench<Gated>) -> Vec<u64> {
    applied(&bench.store)
}

fn committed(bench: &Bench<Gated>) -> u64 {
    bench.recovered().expect("recovers").0.checkpoint().seq
}

fn standing(bench: &Bench<Gated>) -> Standing {
    bench.machine().0.standing()
}

/// The generation that is consumed, as the consumer's last fetch or positioning named it.
fn positioned(effects: &[Effect]) -> Option<(Token, u64)> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Position { token, consumer, .. } => Some((*token, consumer.opt_start_seq?)),
        Effect::Inspect { .. } | Effect::Fetch { .. } | Effect::Ack { .. } | Effect::Term { .. } => None,
    })
}

/// Wakes the gate and carries effects and facts to and fro until nothing more is said. Deliveries are left to the test.
fn bind(bench: &mut Bench<Gated>, upstream: &mut Upstream) {
    let mut effects = bench.settle();
    while !effects.is_empty() {
        let sent: Vec<Sent> = effects.drain(..).filter_map(|effect| upstream.perform(effect)).collect();
        effects = bench.turn(sent.into_iter().map(Input::from));
    }
}

/// Delivers everything there is, each message in a turn of its own.
fn consume(bench: &mut Bench<Gated>, upstream: &mut Upstream) {
    while let Some(delivery) = upstream.serve() {
        for effect in bench.turn([Input::Delivered(delivery)]) {
            assert_eq!(upstream.perform(effect), None);
        }
    }
}

/// One word per effect, as a diagram would have it.
fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Inspect { .. } => "inspect".to_owned(),
        Effect::Position { consumer, .. } => {
            format!("position {}", consumer.opt_start_seq.unwrap_or_default())
        }
        Effect::Fetch { request, .. } => format!("fetch {}", request.batch),
        Effect::Ack { ack } => format!("ack {ack}"),
        Effect::Term { ack, reason } => format!("term {ack}: {reason}"),
    };
    effects.iter().map(word).collect()
}
