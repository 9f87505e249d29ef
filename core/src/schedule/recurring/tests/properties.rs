//! Whatever clock and process do.

use super::backfilling::backfill;
use super::operating::{ask, pause, reason, trigger};
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Wait { ms: u64 },
    Oversleep { ms: u64 },
    Jump { ms: i64 },
    Crash,
    NoAnswer { landed: bool },
    Finish { nth: usize },
    Operate { schedule: &'static str, verb: Verb },
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![
        2 => Just(pause()),
        3 => Just(Verb::Resume),
        2 => (0..6_u8).prop_map(|n| trigger(&format!("k-{n}"))),
        1 => (0..4_u64, 0..6_u64).prop_map(|(from, n)| backfill("fill", from * 10, (from + n) * 10)),
        1 => Just(Verb::StopBackfill { reason: reason() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20_000_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..90_000_u64).prop_map(|ms| Step::Oversleep { ms }),
        1 => (-40_000..40_000_i64).prop_map(|ms| Step::Jump { ms }),
        1 => Just(Step::Crash),
        2 => any::<bool>().prop_map(|landed| Step::NoAnswer { landed }),
        2 => (0..4_usize).prop_map(|nth| Step::Finish { nth }),
        2 => (prop::sample::select(vec!["beat", "skips", "queues"]), verb())
            .prop_map(|(schedule, verb)| Step::Operate { schedule, verb }),
    ]
}

fn all_running(bench: &Bench<Calendar>) -> Vec<CommandId> {
    let names = ["skips", "queues"].map(|name| name.parse::<Name>().expect("a name"));
    names.iter().flat_map(|name| running(&bench.store, name)).collect()
}

fn run(bench: &mut Bench<Calendar>, step: &Step) {
    match step {
        Step::Wait { ms } => drop(bench.advance(*ms)),
        Step::Oversleep { ms } => bench.oversleep(*ms),
        Step::Jump { ms } => {
            bench.now.wall = Wall::from_ms(bench.now.wall.as_ms().saturating_add_signed(*ms).max(START_MS));
        }
        Step::Crash => bench.crash(),
        Step::NoAnswer { landed } => {
            bench.turn_without_answer(if *landed { Landed::Yes } else { Landed::No }, []);
        }
        Step::Finish { nth } => {
            if let Some(id) = all_running(bench).get(*nth).cloned() {
                bench.turn([Input::Finished(id)]);
            }
        }
        Step::Operate { schedule, verb } => {
            ask(bench, schedule, verb.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every occurrence fires once and in order, none early (the bench looks), none while the one before runs (the
    /// bench looks), none while it is paused, what an operator asks for once for each key; and what may all be caught up
    /// with fires without a gap.
    #[test]
    fn occurrences_fire_once_in_order_and_without_a_gap(steps in prop::collection::vec(step(), 1..40)) {
        let all = beat("every: 10s, overlap: allow, catch_up: { policy: all, window: 24h, occurrences_max: 1000 }");
        let mut bench: Bench<Calendar> = Bench::new(config(&[&all], &["beat", "skips", "queues"]));
        bench.settle();
        for step in &steps {
            let paused = bench.machine().0.rows().filter(|(_, row)| row.paused.is_some());
            let held: Vec<String> = paused.map(|(key, _)| key.schedule.to_string()).collect();
            let before = fired(&bench.store).len();
            run(&mut bench, step);
            let resumes = matches!(step, Step::Operate { verb: Verb::Resume, .. });
            let leaked = fired(&bench.store)[before..].iter().find(|(own, ..)| !resumes && held.contains(own)).cloned();
            prop_assert_eq!(leaked, None, "INV-CRON-6");
        }
        for schedule in ["beat", "skips", "queues"] {
            ask(&mut bench, schedule, Verb::Resume);
        }
        for wait_ms in std::iter::repeat_n(100_000, 4).chain(std::iter::repeat_n(200, 60)) {
            for id in all_running(&bench) {
                bench.turn([Input::Finished(id)]);
            }
            bench.advance(wait_ms);
        }
        let mut of: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (schedule, at, _) in fired(&bench.store) {
            of.entry(schedule).or_default().push(at);
        }
        for (schedule, times) in &of {
            prop_assert!(times.is_sorted_by(|a, b| a < b), "INV-CRON-1: {schedule}: {times:?}");
        }
        let last = of.get("beat").and_then(|times| times.last()).map_or(0, |last| last / 10);
        let end = ((bench.now.wall.as_ms() - START_MS) / 10_000).max(last);
        let wanted: Vec<u64> = (1..=end).map(|n| n * 10).collect();
        prop_assert_eq!(of.get("beat").cloned().unwrap_or_default(), wanted, "INV-CRON-3");
        let asked: Vec<CommandId> =
            all_fired(&bench.store).into_iter().filter(|(_, by)| by != "calendar").map(|((.., id), _)| id).collect();
        let once: std::collections::BTreeSet<&CommandId> = asked.iter().collect();
        prop_assert_eq!(once.len(), asked.len(), "INV-CRON-7: seven keys, fewer than a row remembers");
        prop_assert!(bench.machine().0.rows().all(|(_, row)| row.backfill.is_none()), "INV-CRON-7");
        // What neither fired nor was left out nor missed still waits.
        for (key, row) in bench.machine().0.rows() {
            let passed = row.next.map_or(0, |next| (next.as_ms() - START_MS) / 10_000 - 1);
            let counts = row.counts;
            let seen = counts.fired + counts.missed + counts.skipped + u64::from(row.queued.is_some());
            prop_assert_eq!(seen, passed, "{:?}: {:?}", key, row);
        }
    }
}
