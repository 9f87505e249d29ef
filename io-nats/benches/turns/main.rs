//! What a runner's turns cost: sagas of `bench saga`, from their event to their end, one thread, no broker.
//!
//! - Turns of 1, 32 and 256 sagas; every effect is answered at once, in the next turn.
//! - Beside it, plain LMDB puts as many rows of the same kind under as many commits: what the store alone costs.
//!
//! `cargo bench -p cloudlysis-io-nats --bench turns` takes half a minute. Started without `--bench` it does everything
//! once with few sagas, to see that it still works.

use cloudlysis_core::effect::{self, Answered};
use cloudlysis_core::gate::{self, Delivery, StreamFacts};
use cloudlysis_core::manifest::{App, BuiltinRequest, EffectRequest, SourceFile};
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::runner::{Config, Effect, Input, Mode, Runner, Source};
use cloudlysis_core::saga::HandOver;
use cloudlysis_core::store::WriteBatch;
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::envelope::{Event, EventMessage};
use cloudlysis_core::wire::id::{EntityId, Name, TenantId};
use cloudlysis_core::{Checks, Driver, Mono, Now, Outcome, Store, Table, Token, Txn, Wall, outbox, schedule};
use cloudlysis_io_nats::store::{HeedStore, MapSize};
use std::collections::BTreeMap;
use std::time::Duration;

const TURNS: [usize; 3] = [1, 32, 256];
/// Rows that a saga puts or removes over its life, and the bytes of one, as counted when this was written.
const ROWS: usize = 16;
const ROW_BYTES: usize = 400;
/// When the first turn is, in milliseconds since 1970.
const BEGUN_AT_MS: u64 = 1_795_231_870_000;

const FILES: [(&str, &str); 5] = [
    ("app.yaml", include_str!("../../../nodes/src/bench/saga/app.yaml")),
    ("aggregates/order.yaml", include_str!("../../../nodes/src/bench/saga/aggregate.yaml")),
    ("sagas/order.yaml", include_str!("../../../nodes/src/bench/saga/saga.yaml")),
    ("effects/reserve.yaml", include_str!("../../../nodes/src/bench/saga/reserve.yaml")),
    ("effects/charge.yaml", include_str!("../../../nodes/src/bench/saga/charge.yaml")),
];

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let sagas = if is_bench { 40_000 } else { 300 };
    say(
        "                       sagas/s    CPU, us a saga    commits a saga    plain LMDB, commits as many (us)",
    );
    for turn in TURNS {
        let sagas = if turn == 1 { sagas / 20 } else { sagas };
        let mut world = World::new();
        world.sagas(turn * 4, turn);
        let before = (wall(), cpu(), world.store.figures().commits());
        world.sagas(sagas, turn);
        let (took, used) = (wall() - before.0, cpu() - before.1);
        let commits = world.store.figures().commits() - before.2;
        let plain = plain(sagas, usize::try_from(commits).unwrap_or(1));
        let per_saga = |time: Duration| time.as_secs_f64() * 1e6 / sagas as f64;
        say(&format!(
            "{turn:>4} sagas a turn {:>11.0} {:>17.1} {:>17.3} {:>18.1}",
            sagas as f64 / took.as_secs_f64(),
            per_saga(used),
            commits as f64 / sagas as f64,
            per_saga(plain),
        ));
    }
}

/// A runner, its store, and an outside that answers at once.
struct World {
    store: HeedStore,
    driver: Driver<Runner>,
    generation: Option<Token>,
    sent: u64,
    finished: usize,
    at_ms: u64,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
        let file = |(path, text): (&str, &str)| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let app = App::load(&FILES.map(file), &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:?}"));
        let driver = Driver::recover(config(&app), &mut store, Checks::InHandlersOnly, Quirks::NONE);
        let driver = driver.expect("recovers");
        let mut own = Self { store, driver, generation: None, sent: 0, finished: 0, at_ms: 1, _dir: dir };
        let mut inputs = vec![Input::ConnectionChanged { connected: true }];
        while own.generation.is_none() || !inputs.is_empty() {
            inputs = own.turn(inputs);
        }
        own
    }

    fn turn(&mut self, inputs: Vec<Input>) -> Vec<Input> {
        self.at_ms += 1;
        let now = Now {
            mono: Mono::from_ns(self.at_ms * 1_000_000),
            wall: Wall::from_ms(BEGUN_AT_MS + self.at_ms),
        };
        let released = self.driver.turn(&mut self.store, now, inputs).expect("a turn");
        released.into_effects().into_iter().filter_map(|effect| self.answer(effect)).collect()
    }

    fn answer(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Gate { source, effect: gate::Effect::Inspect { token, .. } } => {
                let facts = StreamFacts {
                    incarnation: "bench".into(),
                    first_seq: 1,
                    last_seq: 0,
                    messages: 0,
                    found: Vec::new(),
                    subjects: BTreeMap::new(),
                    consumer: None,
                    rival: None,
                };
                let input = gate::Input::Inspected { token, outcome: Outcome::Done(facts) };
                Some(Input::Gate { source, input })
            }
            Effect::Gate { source, effect: gate::Effect::Position { token, .. } } => {
                if source == Source::Events {
                    self.generation = Some(token);
                }
                let input = gate::Input::Positioned { token, outcome: Outcome::Done(()) };
                Some(Input::Gate { source, input })
            }
            Effect::Effect(effect::Effect::Execute { token, request, .. }) => {
                let EffectRequest::Builtin(BuiltinRequest { status, body, .. }) = request else {
                    unreachable!("effects of ours are built in")
                };
                let outcome = Outcome::Done(Answered { status, body });
                Some(Input::Effect(effect::Input::Returned { token, outcome }))
            }
            Effect::Finished(_) => {
                self.finished += 1;
                None
            }
            Effect::Gate { .. }
            | Effect::Outbox(_)
            | Effect::Left(_)
            | Effect::Answered(_)
            | Effect::Drained(_) => None,
        }
    }

    /// Runs sagas, so many at once.
    fn sagas(&mut self, count: usize, turn: usize) {
        let until = self.finished + count;
        let mut begun = self.finished;
        let mut inputs = Vec::new();
        while self.finished < until {
            while begun < until && begun - self.finished < turn {
                begun += 1;
                inputs.push(self.event());
            }
            inputs = self.turn(inputs);
        }
    }

    fn event(&mut self) -> Input {
        self.sent += 1;
        let order = format!("order-{}", self.sent);
        let message = EventMessage {
            tenant: TenantId::parse("acme").expect("a tenant"),
            aggregate: Name::parse("order").expect("a name"),
            id: EntityId::parse(&order).expect("an id"),
            version: 1,
            command_id: None,
            events: vec![Event {
                kind: Name::parse("placed").expect("a name"),
                payload: serde_json::json!({ "cents": 900 }),
            }],
            timestamp: Some(Wall::from_ms(BEGUN_AT_MS + self.at_ms).rfc3339()),
            context: Context::generate(&order),
        };
        let delivery = Delivery {
            generation: self.generation.expect("bound"),
            subject: message.route().subject().to_string(),
            headers: message.context.headers(&message.tenant),
            payload: message.encode().into(),
            stream_seq: self.sent,
            stored_at_ns: self.sent,
            consumer_seq: self.sent,
            pending: 0,
            ack: "ack".into(),
        };
        Input::Delivered { source: Source::Events, delivery }
    }
}

fn config(app: &App) -> Config {
    Config {
        sagas: app.sagas.clone(),
        natives: app.natives.clone(),
        effects: app.effects.clone(),
        schedules: BTreeMap::new(),
        mode: Mode::Combined(HandOver::Commit),
        partition: 0,
        tenants: Tenants::All,
        narrows: false,
        store_id: "bench".into(),
        adopt: false,
        gate_limits: gate::Limits {
            batch: 256,
            in_flight_max: 512,
            ack_wait_ms: 30_000,
            pull_expires_ms: 3_000_000_000,
            heartbeat_ms: 1_000_000_000,
            request_timeout_ms: 10_000,
            confirm_ms: 15_000,
            audit_ms: 3_000_000_000,
            rebind_ms: 1,
            rebind_ms_max: 1,
        },
        outbox_limits: outbox::Limits {
            in_flight_max: 256,
            in_flight_tenant_max: 256,
            tracked_max: 4_096,
            tracked_tenant_max: 4_096,
            attempt_timeout_ms: 40_000,
            backoff_ms: 50,
            backoff_ms_max: 5_000,
            retry_ms_max: 86_400_000,
        },
        effect_limits: effect::Limits {
            in_flight_max: 512,
            tracked_max: 4_096,
            lanes_max: 8_192,
            answer_slack_ms: 5_000,
            circuit: effect::CircuitLimits { failures_max: 5, pause_ms: 1_000, pause_ms_max: 30_000 },
        },
        schedule_limits: schedule::Limits { fired_max: 256, look_ms_max: 1_000 },
        keep_ms: 3_600_000,
        parked_max: 1_000,
        gas_max: cloudlysis_core::program::GAS_MAX_DEFAULT,
        seed: 7,
        quirks: Quirks::NONE,
    }
}

/// As many rows under as many commits, with nothing decided.
fn plain(sagas: usize, commits: usize) -> Duration {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
    let (rows, begun) = (sagas * ROWS, cpu());
    let mut put = 0;
    for commit in 1..=commits {
        let mut txn = store.begin().expect("begins");
        let mut batch = WriteBatch::default();
        while put * commits < rows * commit {
            batch.put(
                Table::Effect,
                format!("saga:acme:order:order-{}", put / 4).as_bytes(),
                &[7; ROW_BYTES],
            );
            put += 1;
        }
        txn.apply(&batch).expect("applied");
        txn.commit().expect("committed");
    }
    cpu() - begun
}

fn time(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn cpu() -> Duration {
    time(rustix::time::ClockId::ProcessCPUTime)
}

fn wall() -> Duration {
    time(rustix::time::ClockId::Monotonic)
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn say(line: &str) {
    println!("{line}");
}
