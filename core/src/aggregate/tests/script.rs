//! The diagram of the module, arrow by arrow, and its invariants by name.

use super::{
    Bench, Effect, EventLog, Input, LIMITS, Landed, Outcome, PublishRefused, Published, Stock, Style, add,
    bench, carry, command, command_row, commanded, key_of, record, refused, reserve, rests, subject, submit,
    token, unknown, words,
};
use crate::aggregate::{Aggregate, Timer};
use crate::marks::Mark;
use crate::outcome::Token;
use crate::wire::envelope::Command;
use crate::wire::headers::{self, Headers};
use serde_json::{Value, json};

/// The effect of a turn that must cause exactly one.
pub(super) fn only(mut effects: Vec<Effect>) -> Effect {
    assert_eq!(effects.len(), 1, "{effects:?}");
    effects.remove(0)
}

/// What the stream answers, once the request has reached it.
pub(super) fn answered(log: &mut EventLog, request: &Effect) -> Input {
    log.perform(request).expect("a request to the stream")
}

/// When the machine next wants to act.
fn after_a_pause(bench: &mut Bench<Aggregate>) -> Effect {
    let (at, _) = bench.deadline().expect("a pause");
    only(bench.advance(at.ms_since(bench.now.mono)))
}

fn stored(log: &EventLog) -> Vec<String> {
    let ids = log.messages.values().map(|(_, stored)| stored.headers.get(headers::X_CAUSATION_ID));
    ids.map(|id| id.unwrap_or("a rival's").to_owned()).collect()
}

#[test]
pub(super) fn a_command_is_decided_appended_and_answered() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    let Effect::Append { subject: to, headers: own, .. } = &append else { panic!("{append:?}") };
    assert_eq!(to, "tenant.acme.aggregate.stock.tea");
    assert_eq!(own.get(headers::NATS_MSG_ID), Some("acme:stock:tea:c-1"));
    assert_eq!(own.get(headers::NATS_EXPECTED_STREAM), Some("AGGREGATE_EVENTS"));
    assert_eq!(own.get(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE), Some("0"));
    let give_up_at = bench.now.mono.plus_ms(LIMITS.answer_timeout_ms);
    assert_eq!((bench.machine().commands(), bench.deadline()), (1, Some((give_up_at, Timer::Retry))));
    let answer = answered(&mut log, &append);
    assert_eq!(words(&bench.turn([answer])), ["1: accepted 1 v1"]);
    assert_eq!((bench.machine().commands(), rests(&bench)), (0, true));
    let next = only(bench.turn([commanded(2, reserve("tea", "c-2", 1))]));
    assert_eq!(words(std::slice::from_ref(&next)), ["append after 1"], "the row at hand is enough");
}

#[test]
fn a_command_id_is_answered_the_same_way_again() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let more = reserve("tea", "c-2", 9);
    assert_eq!(submit(&mut bench, &mut log, 1, add("tea", "c-1", 3)), ["1: accepted 1 v1"]);
    assert_eq!(submit(&mut bench, &mut log, 2, more.clone()), ["2: refused out_of_stock"]);
    submit(&mut bench, &mut log, 3, add("tea", "c-3", 9));
    bench.crash();
    super::bind(&mut bench, &mut log);
    assert_eq!(words(&bench.turn([commanded(4, add("tea", "c-1", 3))])), ["4: accepted 1 v1 again"]);
    // There would be enough by now; the answer was given, and stays (INV-AGG-2).
    assert_eq!(words(&bench.turn([commanded(5, more)])), ["5: refused out_of_stock"]);
    assert_eq!(bench.marked(Mark::AggregateDuplicate), 1);
    assert_eq!(bench.marked(Mark::AggregateSameRefusal), 1);
}

#[test]
fn only_the_last_refusals_are_remembered() {
    let mut log = EventLog::new(Style::Single);
    let mut config = super::config();
    config.limits.refusals_max = 2;
    let mut bench = Bench::<Aggregate>::new(config);
    super::bind(&mut bench, &mut log);
    for (request, id) in [(1, "c-1"), (2, "c-2"), (3, "c-3")] {
        submit(&mut bench, &mut log, request, reserve("tea", id, 1));
    }
    submit(&mut bench, &mut log, 4, add("tea", "c-4", 5));
    assert_eq!(submit(&mut bench, &mut log, 5, reserve("tea", "c-2", 1)), ["5: refused out_of_stock"]);
    assert_eq!(submit(&mut bench, &mut log, 6, reserve("tea", "c-1", 1)), ["6: accepted 2 v2"]);
}

#[test]
pub(super) fn a_refusal_is_decided_on_what_the_stream_says_now() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 1));
    log.rival(&add("tea", "r-1", 5), &[("stock_added", json!({ "qty": 5 }))]);
    // On the row at hand there is not enough.
    let load = only(bench.turn([commanded(2, reserve("tea", "c-2", 4))]));
    assert_eq!(words(std::slice::from_ref(&load)), ["load 2.."], "INV-AGG-7");
    let tail = answered(&mut log, &load);
    let append = only(bench.turn([tail]));
    assert_eq!(words(std::slice::from_ref(&append)), ["append after 2"]);
    let answer = answered(&mut log, &append);
    assert_eq!(words(&bench.turn([answer])), ["2: accepted 3 v3"]);
    assert_eq!(submit(&mut bench, &mut log, 3, reserve("tea", "c-3", 4)), ["3: refused out_of_stock"]);
    assert_eq!(bench.marked(Mark::AggregateVerified), 1);
}

#[test]
fn a_command_is_decided_again_after_somebody_elses_progress() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 2));
    log.rival(&reserve("tea", "r-1", 1), &[("stock_reserved", json!({ "order": "r-1", "qty": 1 }))]);
    let append = only(bench.turn([commanded(2, reserve("tea", "c-2", 2))]));
    assert_eq!(words(std::slice::from_ref(&append)), ["append after 1"]);
    let conflict = answered(&mut log, &append);
    let load = only(bench.turn([conflict]));
    assert_eq!(words(std::slice::from_ref(&load)), ["load 2.."], "INV-AGG-3");
    let tail = answered(&mut log, &load);
    assert_eq!(words(&bench.turn([tail])), ["2: refused out_of_stock"]);
    assert_eq!(
        (stored(&log), bench.marked(Mark::AggregateConflict)),
        (vec!["c-1".into(), "a rival's".into()], 1)
    );
}

#[test]
pub(super) fn after_an_append_without_an_answer_the_stream_is_looked_at() {
    for landed in [true, false] {
        for style in [Style::Single, Style::Cluster, Style::Forgetful] {
            let mut log = EventLog::new(style);
            let mut bench = bench(&mut log);
            let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
            if landed {
                log.perform(&append);
            }
            assert_eq!(bench.turn([unknown(&append)]), [], "not at once");
            let pause = bench.deadline().expect("tries again").0.ms_since(bench.now.mono);
            assert!((1..=LIMITS.backoff_ms_max).contains(&pause), "{pause}");
            let load = after_a_pause(&mut bench);
            assert_eq!(words(std::slice::from_ref(&load)), ["load 1.."], "INV-AGG-3");
            assert_eq!(carry(&mut bench, &mut log, vec![load]), ["1: accepted 1 v1"], "{style:?}");
            assert_eq!(stored(&log), ["c-1"], "once");
            assert_eq!(bench.marked(Mark::AggregateFoundOwn), u64::from(landed));
        }
    }
}

#[test]
fn a_repeated_append_is_found_however_the_broker_answers_it() {
    for style in [Style::Single, Style::Cluster] {
        let mut log = EventLog::new(style);
        let mut bench = bench(&mut log);
        let first = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
        bench.turn([unknown(&first)]);
        let load = after_a_pause(&mut bench);
        let tail = answered(&mut log, &load);
        // The first attempt arrives after the look, and before the second.
        log.perform(&first);
        let second = only(bench.turn([tail]));
        let answer = answered(&mut log, &second);
        let look = only(bench.turn([answer]));
        assert_eq!(words(std::slice::from_ref(&look)), ["load 1.."]);
        assert_eq!(carry(&mut bench, &mut log, vec![look]), ["1: accepted 1 v1"], "{style:?}");
        assert_eq!(stored(&log), ["c-1"]);
    }
}

#[test]
fn answers_that_never_come_count_as_none() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    assert_eq!(bench.advance(LIMITS.answer_timeout_ms), []);
    let first = after_a_pause(&mut bench);
    assert_eq!(bench.advance(LIMITS.answer_timeout_ms), [], "a look may stay without answer too");
    let second = after_a_pause(&mut bench);
    let late = [answered(&mut log, &append), answered(&mut log, &first)];
    assert_eq!(bench.turn(late), [], "too late");
    assert_eq!(bench.marked(Mark::AggregateStale), 2);
    assert_eq!(carry(&mut bench, &mut log, vec![second]), ["1: accepted 1 v1"]);
}

#[test]
fn attempts_end_and_their_end_is_an_answer() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    // Nothing was ever sent to be stored.
    let mut request = only(bench.turn([commanded(1, reserve("tea", "c-1", 3))]));
    let mut told = Vec::new();
    while told.is_empty() {
        assert_eq!(words(std::slice::from_ref(&request)), ["load 1.."]);
        told = words(&bench.turn([unknown(&request)]));
        if told.is_empty() {
            request = after_a_pause(&mut bench);
        }
    }
    assert_eq!(told, ["1: busy broker_unavailable"], "INV-AGG-4");
    // Something was.
    let append = only(bench.turn([commanded(2, add("tea", "c-2", 3))]));
    assert_eq!(bench.turn([unknown(&append)]), []);
    let told = loop {
        let look = after_a_pause(&mut bench);
        let told = words(&bench.turn([unknown(&look)]));
        if !told.is_empty() {
            break told;
        }
    };
    assert_eq!((told, bench.marked(Mark::AggregateGaveUp)), (vec!["2: unknown".into()], 1));
    assert_eq!((bench.machine().commands(), rests(&bench)), (0, true));
}

#[test]
fn conflicts_without_end_are_bounded_too() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let mut request = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    for rival in 1..20 {
        let faster = add("tea", &format!("r-{rival}"), 1);
        log.rival(&faster, &[("stock_added", json!({ "qty": 1 }))]);
        let conflict = answered(&mut log, &request);
        let next = only(bench.turn([conflict]));
        if matches!(next, Effect::Reply { .. }) {
            assert_eq!(
                (words(&[next]), rival),
                (vec!["1: unknown".into()], LIMITS.attempts_max),
                "INV-AGG-4"
            );
            return;
        }
        let tail = answered(&mut log, &next);
        request = only(bench.turn([tail]));
    }
    panic!("it never ends");
}

#[test]
fn what_the_broker_will_not_store_is_answered_at_once() {
    let misconfigured = PublishRefused::Misconfigured { err_code: 10_060, description: "no".into() };
    for (why, told) in [
        (PublishRefused::TooLarge, "1: invalid too_large"),
        (PublishRefused::Full, "1: busy stream_full"),
        (misconfigured, "1: busy broker_misconfigured"),
    ] {
        let mut log = EventLog::new(Style::Single);
        let mut bench = bench(&mut log);
        let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
        assert_eq!(words(&bench.turn([refused(&append, why)])), [told]);
        assert_eq!(bench.machine().commands(), 0);
    }
}

#[test]
pub(super) fn a_command_that_may_be_under_way_is_not_said_to_be_undone() {
    let misconfigured = PublishRefused::Misconfigured { err_code: 10_060, description: "no".into() };
    for why in [PublishRefused::Full, misconfigured, PublishRefused::TooLarge] {
        let mut log = EventLog::new(Style::Single);
        let mut bench = bench(&mut log);
        let first = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
        bench.turn([unknown(&first)]);
        let load = after_a_pause(&mut bench);
        let tail = answered(&mut log, &load);
        let second = only(bench.turn([tail]));
        // The first attempt is still on its way when the second is turned down.
        assert_eq!(words(&bench.turn([refused(&second, why)])), ["1: unknown"]);
        log.perform(&first);
        assert_eq!(submit(&mut bench, &mut log, 2, add("tea", "c-1", 3)), ["2: accepted 1 v1"]);
    }
}

#[test]
fn the_commands_of_one_aggregate_wait_for_each_other() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let effects = bench.turn([
        commanded(1, add("tea", "c-1", 3)),
        commanded(2, reserve("tea", "c-2", 2)),
        commanded(3, add("mug", "c-3", 1)),
        commanded(4, reserve("tea", "c-4", 2)),
    ]);
    assert_eq!(words(&effects), ["append after 0", "append after 0"], "one of each article");
    let answer = answered(&mut log, &effects[0]);
    assert_eq!(words(&bench.turn([answer])), ["1: accepted 1 v1", "append after 1"]);
    bench.crash();
    assert_eq!((bench.machine().commands(), bench.settle().len()), (0, 1), "nobody waits any more");
}

#[test]
fn queues_are_bounded() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let one = bench.turn((1..=4).map(|n| commanded(n, add("tea", &format!("c-{n}"), 1))));
    assert_eq!(words(&one), ["append after 0", "4: busy too_many_commands"], "INV-AGG-4, per aggregate");
    let all = bench.turn((5..=7).map(|n| commanded(n, add(&format!("t-{n}"), &format!("c-{n}"), 1))));
    assert_eq!(words(&all)[2..], ["7: busy too_many_commands"], "INV-AGG-4, in all");
    assert_eq!((bench.machine().commands(), bench.marked(Mark::AggregateBusy)), (5, 2));
}

#[test]
fn a_history_that_cannot_be_read_is_not_skipped() {
    let added = |qty: u64| ("stock_added", json!({ "qty": qty }));
    let rival = |kind: &'static str, payload: Value| {
        move |log: &mut EventLog| {
            log.rival(&add("tea", "r-1", 1), &[(kind, payload.clone())]);
        }
    };
    let garbage = |log: &mut EventLog| {
        log.keep(&subject(&add("tea", "x", 1)), Headers::default(), "{");
    };
    let hole = |log: &mut EventLog| {
        log.rival(&add("tea", "r-1", 1), &[added(1)]);
        log.rival(&add("tea", "r-2", 1), &[added(1)]);
        log.messages.remove(&2);
    };
    type Spoil<'a> = &'a dyn Fn(&mut EventLog);
    let spoils: [(Spoil<'_>, &str); 4] = [
        (&garbage, "not a readable"),
        (&rival("stock_counted", Value::Null), "`stock_counted`"),
        (&rival("stock_added", json!({})), "stock_added"),
        (&hole, "version 3 follows version 1"),
    ];
    for (spoil, why) in spoils {
        let mut log = EventLog::new(Style::Single);
        let mut bench = bench(&mut log);
        submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
        spoil(&mut log);
        let told = submit(&mut bench, &mut log, 2, add("tea", "c-2", 1)).concat();
        assert!(told.starts_with("2: unreadable sequence") && told.contains(why), "INV-AGG-5: {told}");
        let row = record(&bench, &key_of(&add("tea", "c-1", 3))).expect("a row");
        assert_eq!((row.version, row.last_seq), (1, 1), "what could be read stays as it is");
        assert_eq!(submit(&mut bench, &mut log, 3, add("mug", "c-3", 1)).len(), 1, "others go on");
        assert_eq!(bench.marked(Mark::AggregateUnreadable), 1);
    }
}

#[test]
pub(super) fn the_state_on_record_is_the_fold_of_the_stream() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 5));
    for rival in ["r-1", "r-2", "r-3"] {
        let reserved = json!({ "order": rival, "qty": 1 });
        log.rival(&tea(rival), &[("stock_added", json!({ "qty": 2 })), ("stock_reserved", reserved)]);
    }
    // The tail is read in pieces.
    submit(&mut bench, &mut log, 2, reserve("tea", "c-2", 4));
    let fold = Stock::of(&log.read(&subject(&tea("x"))));
    let row = record(&bench, &key_of(&tea("x"))).expect("a row");
    assert_eq!((row.version, row.last_seq, row.state), (fold.version, 5, fold.state()), "INV-AGG-6");
    assert_eq!(fold.version, 8, "INV-AGG-1: versions count events");
    let rivals = command_row(&bench, &add("tea", "r-2", 2)).expect("read with the tail");
    assert_eq!((rivals.seq, rivals.version), (3, 5));
}

fn tea(command_id: &str) -> Command {
    add("tea", command_id, 2)
}

#[test]
fn events_that_come_again_under_another_sequence_are_applied_once() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 5));
    let (to, again) = log.messages[&1].clone();
    log.keep(&to, again.headers, again.payload);
    assert_eq!(submit(&mut bench, &mut log, 2, reserve("tea", "c-2", 5)), ["2: accepted 3 v2"]);
    let row = record(&bench, &key_of(&tea("x"))).expect("a row");
    assert_eq!((row.version, row.last_seq), (2, 3));
}

#[test]
fn programs_that_fail_are_answered_and_leave_nothing() {
    let odd = |name: &str, payload: Value| command("odd", "o", name, name, payload);
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let much = "x".repeat(250 << 10);
    for (request, command, told) in [
        (1, odd("fail", json!({})), "1: invalid program_failed"),
        (2, odd("spoil", json!({})), "2: invalid program_failed"),
        (4, odd("nothing", json!({})), "4: invalid unknown_command"),
        (5, command("ghost", "o", "x", "c", Value::Null), "5: invalid unknown_aggregate"),
    ] {
        assert_eq!(submit(&mut bench, &mut log, request, command), [told]);
    }
    assert_eq!((log.last_seq, bench.machine().commands()), (0, 0), "INV-AGG-5: nothing that nobody can read");
    assert_eq!(submit(&mut bench, &mut log, 6, odd("swell", json!({ "much": much }))), ["6: accepted 1 v1"]);
    assert_eq!(submit(&mut bench, &mut log, 7, odd("count", json!({}))), ["7: accepted 2 v3"]);
}

#[test]
fn a_command_whose_commit_failed_is_found_by_its_id() {
    for landed in [Landed::Yes, Landed::No] {
        let mut log = EventLog::new(Style::Forgetful);
        let mut bench = bench(&mut log);
        let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
        let answer = answered(&mut log, &append);
        assert_eq!(bench.turn_without_answer(landed, [answer]), [], "nobody is told what is not durable");
        super::bind(&mut bench, &mut log);
        let told = submit(&mut bench, &mut log, 2, add("tea", "c-1", 3)).concat();
        // Either the row says so, or the conflict with our own message does.
        assert!(told.starts_with("2: accepted 1 v1"), "{told}");
        assert_eq!(stored(&log), ["c-1"], "INV-AGG-2");
    }
}

#[test]
fn an_answer_that_names_no_attempt_changes_nothing() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    let before = bench.machine().clone();
    let token = Token { incarnation: 0, seq: token(&append).expect("one").seq };
    let outcome = Outcome::Done(Published { seq: 9, duplicate: false });
    assert_eq!(bench.turn([Input::Appended { token, outcome }]), []);
    assert_eq!((bench.machine(), bench.marked(Mark::AggregateStale)), (&before, 1));
    let answer = answered(&mut log, &append);
    assert_eq!(words(&bench.turn([answer.clone(), answer])), ["1: accepted 1 v1"]);
}
