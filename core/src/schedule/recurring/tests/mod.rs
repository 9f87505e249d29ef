//! Schedules on a bench, with a table that keeps what fired, and sagas that run until somebody ends them.

mod backfilling;
mod exhaustive;
mod operating;
mod properties;
mod script;

use super::{Commanded, Config, Occurrence, Operation, Recurring, RowKey, Verb};
use crate::bench::{Bench, Exam, Landed, examine, quirks, rows, shop_with};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::manifest::{FilledTarget, ScheduleDef};
use crate::quirks::Quirk;
use crate::schedule::Limits;
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall, ns_of_rfc3339};
use crate::wire::context::Context;
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const EXAM: Exam = &[
    (Quirk::RecurringFireAndStay, script::each_occurrence_fires_at_its_time_and_once),
    (Quirk::RecurringForgetMissed, script::what_was_missed_is_caught_up_with_as_far_as_it_may_be),
    (Quirk::RecurringTrustSleep, script::a_clock_that_is_put_back_repeats_nothing),
    (Quirk::RecurringIgnoreOverlap, script::an_occurrence_is_left_out_while_the_one_before_runs),
    (Quirk::RecurringPauseLeaks, operating::a_paused_schedule_catches_up_when_it_goes_on),
    (Quirk::RecurringTriggerAgain, operating::one_fires_now_and_once_for_each_key),
    (Quirk::RecurringBackfillStays, backfilling::the_occurrences_of_a_time_that_has_passed_fire_in_order),
];

#[test]
fn every_fault_of_recurring_schedules_is_noticed() {
    examine(EXAM);
}

/// When a bench begins: a multiple of ten seconds.
const START_MS: u64 = 1_795_231_870_000;
const LIMITS: Limits = Limits { fired_max: 2, look_ms_max: 5_000 };

const ROUND: &str = "
saga: round
starts_on: [schedule.skips, schedule.queues]
on_event: { schedule.skips: {}, schedule.queues: {} }
";
/// Both must exist for their saga to be read.
const SKIPS: &str = "{ schedule: skips, every: 10s, saga: { name: round }, overlap: skip }";
const QUEUES: &str = "{ schedule: queues, every: 10s, saga: { name: round }, overlap: queue_one }";

/// The schedules of these manifests, besides the two of the saga.
fn definitions(more: &[&str]) -> BTreeMap<Name, Arc<ScheduleDef>> {
    let paths: Vec<String> = (0..more.len()).map(|at| format!("schedules/{at}.yaml")).collect();
    let mut files =
        vec![("sagas/round.yaml", ROUND), ("schedules/skips.yaml", SKIPS), ("schedules/queues.yaml", QUEUES)];
    files.extend(paths.iter().map(String::as_str).zip(more.iter().copied()));
    shop_with(&files).schedules
}

/// Only these.
fn config(more: &[&str], names: &[&str]) -> Config {
    let mut definitions = definitions(more);
    definitions.retain(|name, _| names.contains(&name.as_str()));
    Config { definitions, limits: LIMITS, gas_max: 100_000, quirks: quirks() }
}

/// A schedule that adds tea to the stock, with these fields besides.
fn beat(fields: &str) -> String {
    format!(
        "{{ schedule: beat, command: {{ aggregate: stock, id: tea, name: add, payload: {{ at: = occurrence.due_at }} }}, \
         {fields} }}"
    )
}

/// Schedules, what fired, and the instances that run.
#[derive(Clone, PartialEq, Debug)]
struct Calendar(Recurring);

#[derive(Clone, PartialEq, Debug)]
enum Input {
    /// The instance of this occurrence came to its end.
    Finished(CommandId),
    /// The command of this occurrence was answered.
    Answered(CommandId, Option<&'static str>),
    /// An operator asked for something.
    Asked(Operation),
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

fn instance(status: &str) -> Vec<u8> {
    let row = json!({
        "definition": "", "status": status, "state": null, "works": [], "context": Context::generate("i"),
    });
    row.to_string().into_bytes()
}

fn instance_key(id: &CommandId) -> Vec<u8> {
    let (Ok(saga), Ok(correlation)) = ("round".parse(), id.as_str().parse()) else { panic!("names") };
    keys::saga(&TenantId::default_tenant(), &saga, &correlation)
}

fn due(occurrence: &Occurrence) -> Wall {
    let due = ns_of_rfc3339(occurrence.seen["due_at"].as_str().unwrap_or_default()).expect("a time");
    Wall::from_ms(due / 1_000_000)
}

/// What fires is put on record, and its instance runs.
fn start(now: Now, fired: impl IntoIterator<Item = Occurrence>, cx: &mut Cx<'_, Input, String>) {
    let before = rows(cx.view(), Table::Outbox).len() as u64;
    for (at, occurrence) in (before..).zip(fired) {
        assert!(due(&occurrence) <= now.wall, "INV-CRON-2: {occurrence:?} at {:?}", now.wall);
        if matches!(occurrence.target, FilledTarget::Saga { .. }) {
            assert!(running(cx.view(), &occurrence.schedule).is_empty(), "INV-CRON-5");
            cx.put(Table::Saga, &instance_key(&occurrence.id), &instance("running"));
        }
        let s = (due(&occurrence).as_ms() - START_MS) / 1_000;
        let by = occurrence.seen["by"].as_str().unwrap_or_default();
        let line = format!("{} {s} {} {by}", occurrence.schedule, occurrence.id);
        cx.put(Table::Outbox, &keys::position(at), line.as_bytes());
        cx.emit(match by {
            "calendar" => format!("{} {s}", occurrence.schedule),
            _ => format!("{} {s}, {by}", occurrence.schedule),
        });
    }
}

impl Machine for Calendar {
    type Config = Config;
    type Input = Input;
    type Effect = String;
    type Timer = ();
    type Durable = BTreeMap<RowKey, super::Row>;

    fn recover(config: Config, _: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self(Recurring::recover(config, view)?))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, String>) -> Result<(), Halt> {
        match input {
            Input::Finished(id) => {
                cx.put(Table::Saga, &instance_key(&id), &instance("completed"));
                self.0.nudge(now);
            }
            Input::Answered(id, error) => {
                self.0.ended(now, &TenantId::default_tenant(), &id, error, cx);
            }
            Input::Asked(operation) => match self.0.operate(now, &operation, cx)? {
                Commanded::Done { operated, fired } => {
                    start(now, fired.map(|occurrence| *occurrence), cx);
                    cx.emit(match operated.changed {
                        true => format!(
                            "{}: due {}, missed {}",
                            operation.verb.as_str(),
                            operated.fell_due,
                            operated.missed
                        ),
                        false => "as before".to_owned(),
                    });
                }
                Commanded::Refused(refusal) => cx.emit(refusal.to_string()),
            },
            Input::Tick(Tick) => {
                let fired = self.0.tick(now, cx)?;
                start(now, fired, cx);
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, ())> {
        self.0.deadline().map(|at| (at, ()))
    }

    fn durable(&self) -> Self::Durable {
        self.0.durable()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view)
    }
}

/// Occurrences in all lives, in order: schedule, seconds since the beginning, id; and by what they fired.
fn all_fired(view: &dyn View) -> Vec<((String, u64, CommandId), String)> {
    let line = |(_, row): (Vec<u8>, Vec<u8>)| {
        let line = String::from_utf8(row).expect("text");
        let mut parts = line.split(' ');
        let mut part = || parts.next().expect("a part").to_owned();
        let own = (part(), part().parse().expect("seconds"), part().parse().expect("an id"));
        (own, part())
    };
    rows(view, Table::Outbox).into_iter().map(line).collect()
}

/// Those that fired by the calendar.
fn fired(view: &dyn View) -> Vec<(String, u64, CommandId)> {
    all_fired(view).into_iter().filter(|(_, by)| by == "calendar").map(|(own, _)| own).collect()
}

/// The occurrences of a schedule whose instances run.
fn running(view: &dyn View, schedule: &Name) -> Vec<CommandId> {
    let completed = instance("completed");
    let runs = |id: &CommandId| {
        view.get(Table::Saga, &instance_key(id)).expect("readable").is_some_and(|row| row != completed)
    };
    let own = all_fired(view).into_iter().map(|(own, _)| own).filter(|(own, ..)| own == schedule.as_str());
    own.map(|(.., id)| id).filter(runs).collect()
}

fn times(bench: &Bench<Calendar>) -> Vec<u64> {
    fired(&bench.store).into_iter().map(|(_, at, _)| at).collect()
}

/// What became of the occurrences of a schedule: fired, missed, skipped, failed.
fn counts(bench: &Bench<Calendar>, schedule: &str) -> (u64, u64, u64, u64) {
    let row = bench.machine().0.rows().find(|(key, _)| key.schedule.as_str() == schedule).expect("a row").1;
    (row.counts.fired, row.counts.missed, row.counts.skipped, row.counts.failed)
}
