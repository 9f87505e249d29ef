//! The effects of a partition on a bench, with a log of their results, and an outside that counts what it does.

mod audit;
mod circuit;
mod exhaustive;
mod lanes;
mod operate;
mod properties;
mod script;
mod time;

use super::operate::{Commanded, Operation};
use super::{
    Answered, Arrival, CircuitLimits, Config, Effect, Effects, Ended, LedgerRow, Limits, NotSent, Phase,
    Timer,
};
use crate::bench::{Bench, Exam, Landed, examine, quirks, rows, shop_with};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;

use crate::outcome::{Outcome, Token};
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::context::Context;
use crate::wire::envelope::{EffectCommand, SagaRef};
use crate::wire::id::TenantId;
use crate::wire::keys;
use serde_json::{Value, json};

pub(crate) const EXAM: Exam = &[
    (Quirk::EffectKeyPerAttempt, script::the_idempotency_key_is_the_same_in_every_attempt_and_every_life),
    (
        Quirk::EffectForgetInterrupted,
        operate::what_a_crash_cut_off_is_in_doubt_also_when_nobody_can_call_it_again,
    ),
    (Quirk::EffectRetryAtMostOnce, script::what_may_happen_at_most_once_is_not_repeated_after_silence),
    (Quirk::EffectRetryInDoubt, operate::what_may_have_happened_is_called_again_only_if_it_may_repeat),
    (Quirk::EffectSettleUntold, operate::how_an_operator_settles_an_effect_is_told_once),
    (Quirk::EffectAcceptStale, script::the_answer_to_an_earlier_attempt_changes_nothing),
    (
        Quirk::EffectPauseInDoubt,
        script::what_may_happen_at_most_once_is_tried_again_when_it_was_definitely_not_sent,
    ),
    (Quirk::EffectForgetLedger, script::a_command_that_comes_again_is_not_carried_out_again),
    (Quirk::EffectIgnoreCircuit, circuit::an_upstream_that_fails_again_and_again_is_left_alone),
    (
        Quirk::EffectIgnoreLane,
        lanes::no_more_are_under_way_under_a_key_than_may_be_and_the_rest_waits_in_order,
    ),
    (Quirk::EffectIgnoreRate, lanes::no_more_begin_in_a_second_under_a_key_than_may),
    (Quirk::EffectIgnoreTime, time::what_is_not_done_in_its_time_is_left_to_a_person),
    (Quirk::EffectCursorStays, circuit::what_is_found_again_with_holes_behind_it_leaves_nothing_to_read),
];

#[test]
fn every_fault_of_effects_is_noticed() {
    examine(EXAM);
}

/// No circuit ever opens.
const PATIENT: CircuitLimits = CircuitLimits { failures_max: u32::MAX, pause_ms: 1, pause_ms_max: 1 };

const LIMITS: Limits =
    Limits { in_flight_max: 2, tracked_max: 3, lanes_max: 4, answer_slack_ms: 500, circuit: PATIENT };

/// Longer than any pause and any attempt of the tests' effects.
const LONG_MS: u64 = 10_000;

/// The shop, whose effects may also call what those of the tests call.
const APP: &str = "
app: shop
vars: { services: \"http://127.0.0.1:7070\" }
egress: [\"127.0.0.1:7070\", \"outside:80\"]
";

/// Gives up after three attempts, and cannot always be asked for.
const POKE: &str = "
effect: poke
http: { method: POST, url: = command.payload.url }
timeout_ms: 2000
retry: { attempts_max: 3, backoff_ms: 100, backoff_ms_max: 1000 }
";

/// Has three seconds, whatever comes of it.
const PING: &str = "
effect: ping
http: { method: POST, url: http://outside }
timeout_ms: 500
retry: { total_ms_max: 3000, backoff_ms: 200, backoff_ms_max: 200 }
";

/// Two calls at once on a line.
const RING: &str = "
effect: ring
http: { method: POST, url: http://outside }
timeout_ms: 500
retry: { backoff_ms: 100, backoff_ms_max: 100 }
limits: { key: = command.payload.line, in_flight_max: 2 }
";

/// Four calls in a second on a line, two of them at one moment.
const BEAT: &str = "
effect: beat
http: { method: POST, url: http://outside }
timeout_ms: 500
retry: { backoff_ms: 100, backoff_ms_max: 100 }
limits: { key: = command.payload.line, per_second: 4, burst: 2 }
";

/// One call at a time, whoever knocks, and a second for all attempts.
const KNOCK: &str = "
effect: knock
http: { method: POST, url: http://outside }
timeout_ms: 2000
retry: { total_ms_max: 1000 }
limits: { in_flight_max: 1 }
";

/// The effects, the last answer to an operator, and a table that keeps results in order: what a parent would do with them.
#[derive(Clone, PartialEq, Debug)]
struct Desk(Effects, Option<Commanded>);

#[derive(Clone, PartialEq, Debug)]
enum Input {
    Commanded(Box<EffectCommand>),
    Effect(super::Input),
    Asked(Box<Operation>),
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

fn keep(Ended { result, arrival }: Ended, cx: &mut Cx<'_, Input, Effect>) {
    assert_eq!(arrival, Arrival::Delivered);
    let at = rows(cx.view(), Table::View).len() as u64;
    let subject = result.route().subject().to_string();
    let value: Value = serde_json::from_slice(&result.encode()).expect("JSON");
    let line = json!({ "subject": subject, "result": value });
    cx.put(Table::View, &keys::position(at), line.to_string().as_bytes());
}

impl Machine for Desk {
    type Config = Config;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = super::Durable;

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self(Effects::recover(config, incarnation, view)?, None))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        match input {
            Input::Commanded(command) => self.0.on_command(now, &command, Arrival::Delivered, cx),
            Input::Effect(input) => {
                let ended = self.0.handle(now, input, cx)?;
                ended.into_iter().for_each(|ended| keep(ended, cx));
                Ok(())
            }
            Input::Asked(operation) => {
                let commanded = self.0.operate(now, &operation, cx)?;
                if let Commanded::Done { ended: Some(ended), .. } = &commanded {
                    keep((**ended).clone(), cx);
                }
                self.1 = Some(commanded);
                Ok(())
            }
            Input::Tick(Tick) => self.0.tick(now, cx),
        }
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        self.0.deadline()
    }

    fn durable(&self) -> super::Durable {
        self.0.durable()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view)
    }
}

fn config() -> Config {
    let own = [("poke", POKE), ("ping", PING), ("ring", RING), ("beat", BEAT), ("knock", KNOCK)];
    let own = own.map(|(name, text)| (format!("effects/{name}.yaml"), text));
    let mut files: Vec<(&str, &str)> = own.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    files.push(("app.yaml", APP));
    let definitions = shop_with(&files).effects;
    Config { definitions, limits: LIMITS, gas_max: 100_000, seed: 7, quirks: quirks() }
}

fn bench() -> Bench<Desk> {
    Bench::new(config())
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("a tenant")
}

fn command(effect: &str, id: &str) -> EffectCommand {
    let parsed = (effect.parse(), id.parse(), "o-1".parse(), "checkout".parse(), effect.parse());
    let (Ok(effect), Ok(command_id), Ok(correlation), Ok(saga), Ok(work)) = parsed else { panic!("{id}") };
    EffectCommand {
        tenant: tenant(),
        effect,
        command_id,
        payload: json!({ "order": "o-1", "cents": 5, "card": "valid", "url": "http://outside" }),
        saga: Some(SagaRef { saga, correlation, work }),
        timestamp: None,
        context: Context::generate(id),
    }
}

/// Limited by line.
fn on_line(effect: &str, line: &str, id: &str) -> EffectCommand {
    let mut command = command(effect, id);
    command.payload["line"] = json!(line);
    command
}

/// At least once: charge a card.
fn charge(id: &str) -> EffectCommand {
    command("charge_card", id)
}

/// At most once: send a receipt.
fn receipt(id: &str) -> EffectCommand {
    command("send_receipt", id)
}

fn commanded(command: EffectCommand) -> Input {
    Input::Commanded(Box::new(command))
}

fn returned(effect: &Effect, outcome: Outcome<Answered, NotSent>) -> Input {
    let Effect::Execute { token, .. } = effect;
    Input::Effect(super::Input::Returned { token: *token, outcome })
}

fn answer(effect: &Effect, status: u16) -> Input {
    returned(effect, Outcome::Done(Answered { status, body: json!({ "id": "p-1" }) }))
}

fn unknown(effect: &Effect) -> Input {
    returned(effect, Outcome::Unknown)
}

fn not_sent(effect: &Effect, forbidden: bool) -> Input {
    returned(effect, Outcome::Refused(NotSent { detail: "no route".into(), forbidden }))
}

const fn token(effect: &Effect) -> Token {
    let Effect::Execute { token, .. } = effect;
    *token
}

const fn key(effect: &Effect) -> &String {
    let Effect::Execute { idempotency_key, .. } = effect;
    idempotency_key
}

/// The call of a turn that must make exactly one.
fn only(mut effects: Vec<Effect>) -> Effect {
    assert_eq!(effects.len(), 1, "{effects:?}");
    effects.remove(0)
}

fn nothing_is_open(bench: &Bench<Desk>) {
    assert_eq!((bench.machine().0.open(), bench.machine().0.in_flight(), bench.deadline()), (0, 0, None));
    assert_eq!(bench.store.table(Table::EffectOpen).count(), 0);
}

/// One line per call.
fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| {
        let Effect::Execute { idempotency_key, attempt, effect, .. } = effect;
        format!("{effect} {idempotency_key} #{attempt}")
    };
    effects.iter().map(word).collect()
}

/// The committed row of a command.
fn ledger(bench: &Bench<Desk>, id: &str) -> Option<LedgerRow> {
    let row = bench.store.row(Table::Effect, &keys::effect(&tenant(), &id.parse().expect("an id")))?;
    Some(LedgerRow::decode(row).expect("a ledger row"))
}

fn phase(bench: &Bench<Desk>, id: &str) -> Phase {
    ledger(bench, id).expect("known").phase
}

/// Results by the id of their command, as the committed table says, in order.
fn results(bench: &Bench<Desk>) -> Vec<(String, Value)> {
    let read = |(_, row): (Vec<u8>, Vec<u8>)| {
        let line: Value = serde_json::from_slice(&row).expect("JSON");
        let subject = line["subject"].as_str().expect("text");
        (subject.rsplit('.').next().unwrap_or_default().to_owned(), line["result"].clone())
    };
    rows(&bench.store, Table::View).into_iter().map(read).collect()
}

/// How commands ended.
fn ends(bench: &Bench<Desk>) -> Vec<String> {
    let show = |(id, result): (String, Value)| {
        format!("{id} {}", result["result_type"].as_str().unwrap_or_default())
    };
    results(bench).into_iter().map(show).collect()
}
