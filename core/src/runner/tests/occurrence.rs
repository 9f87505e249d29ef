//! Occurrences of schedules: each reaches what it is for, once, and its end comes back.

use super::redrive::reason;
use super::{
    Bench, Config, Effect, Input, Landed, Mode, OUTBOX_LIMITS, Runner, World, config, effect, shop_with,
};
use crate::marks::Mark;
use crate::outcome::Outcome;
use crate::program::contract::{TIMERS_MAX, WORK_MAX};
use crate::quarantine::QuarantineKey;
use crate::quarantine::operate::Verb;
use crate::saga::{HandOver, Status};
use crate::schedule::recurring::{FIRED_MAX, Row};

const ADDS: &str = "
schedule: adds
every: 10s
tenants: [acme]
command: { aggregate: stock, id: \"= 'o-' + occurrence.schedule\", name: add, payload: { qty: 1 } }
";
const REFUSED: &str = "
schedule: refused
every: 10s
tenants: [acme]
command: { aggregate: stock, id: o-soldout, name: reserve, payload: { qty: 1 } }
";
const MAILS: &str = "
schedule: mails
every: 10s
tenants: [acme]
effect: { name: send_receipt, payload: { order: o-mail, cents: 1 } }
";
const CHARGES: &str = "
schedule: charges
every: 10s
tenants: [acme]
effect: { name: charge_card, payload: { order: o-1, cents: 1, card: valid } }
";
const STARTS: &str = "
schedule: starts
every: 10s
tenants: [acme]
saga: { name: round, correlation: = occurrence.due_at, payload: { order: o-round } }
";
const ROUND: &str = "
saga: round
starts_on: [schedule.starts]
on_event:
  schedule.starts:
    set: { order: = event.payload.order }
    work: [{ name: first, command: { aggregate: stock, id: = event.payload.order, name: add, payload: { qty: 1 } } }]
  first.accepted: { complete: true }
";

/// A runner with these schedules that is bound to its streams.
fn world(names: &[&str], hand_over: HandOver) -> World {
    let mut world = not_bound(names, hand_over);
    world.run();
    world
}

fn not_bound(names: &[&str], hand_over: HandOver) -> World {
    let files = [
        ("schedules/adds.yaml", ADDS),
        ("schedules/refused.yaml", REFUSED),
        ("schedules/mails.yaml", MAILS),
        ("schedules/charges.yaml", CHARGES),
        ("schedules/starts.yaml", STARTS),
        ("sagas/round.yaml", ROUND),
    ];
    let app = shop_with(&files);
    let (sagas, mut schedules) = (app.sagas, app.schedules);
    schedules.retain(|name, _| names.contains(&name.as_str()));
    World::new(Config { sagas, schedules, mode: Mode::Combined(hand_over), ..config() })
}

impl World {
    /// Time passes, and everything is carried to and fro.
    pub(super) fn wait(&mut self, ms: u64) {
        let effects = self.bench.advance(ms);
        self.carry(effects);
    }

    fn row(&self, schedule: &str) -> Row {
        let mut rows = self.bench.machine().recurring().rows();
        rows.find(|(key, _)| key.schedule.as_str() == schedule).expect("a row").1.clone()
    }
}

#[test]
pub(super) fn no_effect_is_called_before_the_streams_are_known_to_be_ours() {
    let mut world = not_bound(&["mails"], HandOver::Commit);
    world.bench.settle();
    let asked = world.bench.advance(10_000);
    let calls = |asked: &[Effect]| asked.iter().filter(|own| matches!(own, Effect::Effect(_))).count();
    assert_eq!(world.bench.machine().effects().open(), 1, "it was due");
    assert_eq!(calls(&asked), 0, "somebody else may own this partition");
    world.carry(asked);
    assert_eq!(world.outside.of("acme/o-mail"), ["send_receipt"]);
    // What is ours now need not wait for a broker that is away.
    world.bench.turn([Input::ConnectionChanged { connected: false }]);
    world.wait(10_000);
    assert_eq!(world.outside.of("acme/o-mail"), ["send_receipt", "send_receipt"]);
}

#[test]
pub(super) fn a_stopped_runner_begins_no_call() {
    let call = |asked: &[Effect]| {
        asked.iter().find_map(|own| {
            let Effect::Effect(effect::Effect::Execute { token, .. }) = own else { return None };
            Some(*token)
        })
    };
    let mut world = world(&["charges"], HandOver::Commit);
    let token = call(&world.bench.advance(10_000)).expect("a call");
    world.bench.turn([Input::Stopped { deadline_ms: 60_000 }]);
    let silence = effect::Input::Returned { token, outcome: Outcome::Unknown };
    let mut asked = world.bench.turn([Input::Effect(silence)]);
    asked.extend(world.bench.advance(120_000));
    assert_eq!(call(&asked), None, "INV-DRN-5: it would be tried again");
    assert!(asked.iter().any(|own| matches!(own, Effect::Drained(report) if report.clean)));
    world.bench.crash();
    world.run();
    assert_eq!(world.outside.of("acme/o-1"), ["charge_card"], "the next life does");
}

#[test]
pub(super) fn nothing_leaves_after_the_report_of_a_drain() {
    let mut world = not_bound(&["adds"], HandOver::Commit);
    world.outside.is_mute = true;
    world.run();
    world.wait(10_000);
    assert!(world.bench.machine().outbox().depth() > 0, "it waits to be tried again");
    let mut asked = world.bench.turn([Input::Stopped { deadline_ms: 1 }]);
    asked.extend(world.bench.advance(1));
    let reported = asked.iter().position(|own| matches!(own, Effect::Drained(_))).expect("a report");
    asked.extend(world.bench.advance(120_000));
    let left = asked.split_off(reported).into_iter().find(|own| matches!(own, Effect::Outbox(_)));
    assert_eq!(left, None, "INV-DRN-5");
}

/// Nobody would ever end it otherwise.
#[test]
fn a_schedule_whose_dead_letter_is_dropped_goes_on() {
    for skips in [true, false] {
        let mut world = world(&["adds"], HandOver::Commit);
        world.outside.is_mute = true;
        world.wait(10_000);
        world.bench.oversleep(OUTBOX_LIMITS.retry_ms_max);
        for _ in 0..8 {
            world.wait(OUTBOX_LIMITS.backoff_ms_max);
        }
        assert!(world.row("adds").running.is_some() && world.quarantined().len() == 1);
        if skips {
            let key = QuarantineKey::parse(&world.quarantined()[0].key).expect("a key");
            world.do_with_held(Verb::Skip { key, position: 0, reason: reason() }).expect("done");
        } else {
            assert_eq!(world.discard_all().discarded, 1);
        }
        let row = world.row("adds");
        assert_eq!((row.counts.failed, row.error.as_deref()), (1, Some("an operator dropped it")));
        world.outside.is_mute = false;
        world.wait(10_000);
        assert_eq!(world.outside.of("acme/o-adds").last(), Some(&"add"));
    }
}

#[test]
fn a_command_is_sent_once_for_every_occurrence() {
    let mut world = world(&["adds"], HandOver::Commit);
    for _ in 0..3 {
        world.wait(10_000);
    }
    assert_eq!(world.outside.of("acme/o-adds"), ["add", "add", "add"]);
    assert_eq!(world.outside.done.len(), 3, "each under an id of its own");
    let row = world.row("adds");
    assert_eq!((row.counts.fired, row.counts.skipped, row.running), (3, 0, None));
}

#[test]
fn a_refusal_is_counted_and_told() {
    let mut world = world(&["refused"], HandOver::Commit);
    world.wait(10_000);
    let row = world.row("refused");
    assert_eq!((row.counts.failed, row.running), (1, None));
    assert_eq!(row.error.as_deref(), Some("refused: out_of_stock: none"));
}

#[test]
fn an_effect_is_asked_for_once_whichever_way_it_goes() {
    for hand_over in [HandOver::Broker, HandOver::Commit] {
        let mut world = world(&["mails"], hand_over);
        world.wait(10_000);
        world.wait(10_000);
        assert_eq!(world.outside.of("acme/o-mail"), ["send_receipt", "send_receipt"], "{hand_over:?}");
        assert_eq!((world.row("mails").counts.fired, world.row("mails").running), (2, None), "{hand_over:?}");
        assert_eq!(world.bench.marked(Mark::RecurringSkipped), 0);
    }
}

/// A saga that asks for as much as one reaction may, for very many tenants at once.
#[test]
fn all_tenants_at_once_are_not_too_many() {
    let each =
        |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let work =
        each(WORK_MAX, &|n| format!("{{ name: w{n}, command: {{ aggregate: stock, id: tea, name: add }} }}"));
    let timers = each(TIMERS_MAX, &|n| format!("{{ name: t{n}, after: 1h }}"));
    let fired = each(TIMERS_MAX, &|n| format!("t{n}.fired: {{}}"));
    let saga = format!(
        "saga: much\nstarts_on: [schedule.crowd]\n\
         on_event: {{ schedule.crowd: {{ work: [{work}], timers: [{timers}] }}, {fired} }}\n"
    );
    let tenants = each(400, &|n| format!("t{n}"));
    let crowd = format!("schedule: crowd\nevery: 10s\ntenants: [{tenants}]\nsaga: {{ name: much }}\n");
    let app = shop_with(&[("sagas/much.yaml", &saga), ("schedules/crowd.yaml", &crowd)]);
    let limits = crate::schedule::Limits { fired_max: 256, look_ms_max: 1_000 };
    let (sagas, schedules) = (app.sagas, app.schedules);
    let mut bench: Bench<Runner> =
        Bench::new(Config { sagas, schedules, schedule_limits: limits, ..config() });
    bench.turn([]);
    bench.turn([]);
    bench.oversleep(10_000);
    let mut turns = 0;
    while bench.machine().recurring().rows().any(|(_, row)| row.counts.fired == 0) {
        bench.turn([]);
        turns += 1;
    }
    assert_eq!(
        (turns, bench.machine().outbox().depth()),
        (400_usize.div_ceil(FIRED_MAX), 400 * WORK_MAX as u64)
    );
}

#[test]
fn a_saga_is_started_in_the_commit_of_its_occurrence() {
    for landed in [Landed::Yes, Landed::No] {
        let mut world = world(&["starts"], HandOver::Broker);
        world.bench.oversleep(10_000);
        let due = world.row("starts").next.expect("due").rfc3339();
        assert!(world.bench.turn_without_answer(landed, []).is_empty());
        assert_eq!(world.instance("round", "acme", &due).is_some(), landed == Landed::Yes);
        world.wait(5_000);
        let instance = world.instance("round", "acme", &due).expect("it is started");
        assert_eq!((instance.status, instance.state["order"].as_str()), (Status::Completed, Some("o-round")));
        assert_eq!(world.outside.of("acme/o-round"), ["add"], "{landed:?}");
        assert_eq!(world.row("starts").counts.fired, 1);
    }
}
