//! Whether the stream is the one our rows were read from, and when commands are taken in at all.

use super::script::{answered, only};
use super::{
    Bench, Config, EventLog, Input, LIMITS, Limits, Outcome, Style, add, bench, bind, commanded, config,
    rests, submit, unbound, words,
};
use crate::aggregate::{Aggregate, Timer};
use crate::gate::NoStream;
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::store::Table;
use crate::time::Mono;
use serde_json::json;

/// Why binding stops the node; `None` when it does not.
fn fence(bench: &mut Bench<Aggregate>, log: &mut EventLog) -> Option<Fence> {
    let inspect = only(bench.settle());
    let answer = answered(log, &inspect);
    match bench.try_turn([answer]) {
        Ok(_) => None,
        Err(Halt::Fenced(fence)) => Some(fence),
        Err(halt @ (Halt::Store(_) | Halt::Corrupt { .. } | Halt::Broken(_))) => panic!("{halt}"),
    }
}

/// A node that has appended one message and lives again.
fn restarted() -> (Bench<Aggregate>, EventLog) {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
    bench.crash();
    (bench, log)
}

#[test]
fn commands_are_taken_in_once_the_stream_is_known() {
    let (mut bench, mut log) = (unbound(), EventLog::new(Style::Single));
    assert_eq!(bench.deadline(), Some((Mono::ZERO, Timer::Bind)));
    assert_eq!(words(&bench.turn([commanded(1, add("tea", "c-1", 3))]))[0], "1: busy binding");
    let mut again = bench.advance(2 * LIMITS.answer_timeout_ms);
    assert!(words(&again).iter().all(|word| word == "inspect") && again.len() > 1, "{again:?}");
    let answer = answered(&mut log, &again.pop().expect("the last"));
    bench.turn([answer]);
    assert_eq!((bench.machine().not_ready(), rests(&bench)), (None, true));
}

#[test]
fn a_stream_that_does_not_exist_yet_is_waited_for() {
    let (mut bench, mut log) = (unbound(), EventLog::new(Style::Single));
    let inspect = only(bench.settle());
    let token = super::token(&inspect).expect("a request");
    bench.turn([Input::Inspected { token, outcome: Outcome::Refused(NoStream) }]);
    assert_eq!(bench.machine().not_ready(), Some("stream_missing"));
    let inspect = only(bench.advance(LIMITS.backoff_ms_max));
    let answer = answered(&mut log, &inspect);
    bench.turn([answer]);
    assert_eq!(bench.machine().not_ready(), None);
}

#[test]
fn a_stream_that_is_another_or_lost_its_end_or_is_gone_stops_the_node() {
    let stream = || "AGGREGATE_EVENTS".to_owned();
    let (mut bench, mut log) = restarted();
    log.incarnation = "2026|b".into();
    let (expected, found) = ("2026|a".into(), "2026|b".into());
    let replaced = Fence::StreamReplaced { stream: stream(), expected, found };
    assert_eq!(fence(&mut bench, &mut log), Some(replaced));

    let (mut bench, _) = restarted();
    let truncated = Fence::StreamTruncated { stream: stream(), seen_seq: 1, last_seq: 0 };
    assert_eq!(fence(&mut bench, &mut EventLog::new(Style::Single)), Some(truncated));

    let (mut bench, _) = restarted();
    let token = super::token(&only(bench.settle())).expect("a request");
    let halt = bench.try_turn([Input::Inspected { token, outcome: Outcome::Refused(NoStream) }]);
    assert_eq!(halt, Err(Fence::StreamGone { stream: stream() }.into()));

    let (mut bench, mut log) = restarted();
    assert_eq!(fence(&mut bench, &mut log), None, "the same stream is");
}

#[test]
fn a_stream_that_goes_backwards_is_inspected_again() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
    // An older backup is restored under our feet: it expects what we have passed, and has nothing newer to show.
    log = EventLog::new(Style::Single);
    let append = only(bench.turn([commanded(2, add("tea", "c-2", 3))]));
    let conflict = answered(&mut log, &append);
    let load = only(bench.turn([conflict]));
    let tail = answered(&mut log, &load);
    let effects = bench.turn([tail]);
    assert_eq!(words(&effects), ["inspect"], "nothing is appended to what may be another stream");
    let facts = answered(&mut log, &effects[0]);
    let halt = bench.try_turn([facts]).expect_err("its end is lost");
    assert!(matches!(halt, Halt::Fenced(Fence::StreamTruncated { .. })), "{halt}");
}

/// Time passes until the node looks at its stream again.
fn audit(bench: &mut Bench<Aggregate>, log: &mut EventLog) -> Result<(), Halt> {
    let inspect = only(bench.advance(LIMITS.audit_ms));
    let answer = answered(log, &inspect);
    bench.try_turn([answer]).map(drop)
}

#[test]
pub(super) fn an_end_that_was_written_anew_stops_the_node_though_it_is_as_long_as_before() {
    let stream = || "AGGREGATE_EVENTS".to_owned();
    let rewrite = |log: &mut EventLog| {
        log.messages.clear();
        log.last_seq = 0;
        log.rival(&add("mug", "c-9", 1), &[("stock_added", json!({ "qty": 1 }))]);
    };
    let (mut node, mut log) = restarted();
    rewrite(&mut log);
    let replaced = Fence::MessageReplaced { stream: stream(), seq: 1 };
    assert_eq!(fence(&mut node, &mut log), Some(replaced.clone()), "INV-AGG-8");

    let mut log = EventLog::new(Style::Single);
    let mut node = bench(&mut log);
    submit(&mut node, &mut log, 1, add("tea", "c-1", 3));
    assert_eq!(audit(&mut node, &mut log), Ok(()), "nothing has changed");
    rewrite(&mut log);
    assert_eq!(audit(&mut node, &mut log), Err(replaced.into()));
}

#[test]
pub(super) fn a_hole_in_the_history_stops_the_node() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
    submit(&mut bench, &mut log, 2, add("tea", "c-2", 3));
    log.messages.remove(&1);
    let (stream, removed, known_removed) = ("AGGREGATE_EVENTS".to_owned(), 1, 0);
    let lacking = Fence::MessagesRemoved { stream, removed, known_removed };
    assert_eq!(audit(&mut bench, &mut log), Err(lacking.into()));
}

#[test]
pub(super) fn an_event_stored_before_one_that_was_seen_makes_the_node_look_again() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
    submit(&mut bench, &mut log, 2, add("tea", "c-2", 3));
    // An older backup is restored, and what it lacks is of another aggregate.
    log.messages.remove(&2);
    log.last_seq = 1;
    let append = only(bench.turn([commanded(3, add("mug", "c-3", 1))]));
    let appended = answered(&mut log, &append);
    let effects = bench.turn([appended]);
    assert_eq!(words(&effects), ["3: accepted 2 v1", "inspect"]);
    let facts = answered(&mut log, &effects[1]);
    let replaced = Fence::MessageReplaced { stream: "AGGREGATE_EVENTS".into(), seq: 2 };
    assert_eq!(bench.try_turn([facts]).map(drop), Err(replaced.into()));
}

#[test]
fn a_stream_that_contradicts_only_for_a_while_does_not_stop_the_node() {
    let mut log = EventLog::new(Style::Single);
    let limits = Limits { confirm_ms: 10_000, ..LIMITS };
    let mut bench = Bench::<Aggregate>::new(Config { limits, ..config() });
    bind(&mut bench, &mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
    // Who answers has lost its cluster, and knows nothing yet.
    let mut stale = EventLog::new(Style::Single);
    assert_eq!(audit(&mut bench, &mut stale), Ok(()));
    let reasons = (bench.machine().not_ready(), bench.marked(Mark::AggregateDoubted));
    assert_eq!(reasons, (Some("binding"), 1));
    bench.oversleep(LIMITS.backoff_ms_max);
    bind(&mut bench, &mut log);
}

#[test]
fn an_audit_without_an_answer_holds_commands_off_until_the_stream_is_known_again() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let inspect = only(bench.advance(LIMITS.audit_ms));
    assert_eq!(bench.machine().not_ready(), None, "looking again holds nobody off");
    assert_eq!(bench.turn([super::unknown(&inspect)]), []);
    assert_eq!(words(&bench.turn([commanded(1, add("tea", "c-1", 3))])), ["1: busy binding"]);
    bench.oversleep(LIMITS.backoff_ms_max);
    bind(&mut bench, &mut log);
}

#[test]
fn what_was_appended_after_an_inspection_does_not_contradict_it() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    bench.turn([Input::ConnectionChanged { connected: false }]);
    let inspect = only(bench.turn([Input::ConnectionChanged { connected: true }]));
    let facts = answered(&mut log, &inspect);
    let appended = answered(&mut log, &append);
    assert_eq!(words(&bench.turn([appended])), ["1: accepted 1 v1"]);
    bench.turn([facts]);
    assert_eq!(bench.machine().not_ready(), None);
}

#[test]
fn a_command_under_way_does_not_touch_a_stream_before_it_is_known_to_be_ours() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let append = only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    bench.turn([Input::ConnectionChanged { connected: false }, super::unknown(&append)]);
    // Another stream by the same name, as empty as ours was: the expectation would hold on it.
    log.incarnation = "2026|b".into();
    let inspect = only(bench.turn([Input::ConnectionChanged { connected: true }]));
    assert_eq!(words(std::slice::from_ref(&inspect)), ["inspect"]);
    assert_eq!(
        words(&bench.advance(LIMITS.backoff_ms_max)),
        ["1: unknown"],
        "and asked nothing of the stream"
    );
    let facts = answered(&mut log, &inspect);
    let halt = bench.try_turn([facts]).expect_err("not ours");
    assert!(matches!(halt, Halt::Fenced(Fence::StreamReplaced { .. })), "{halt}");
    assert_eq!(log.messages.len(), 0);
}

#[test]
fn a_lost_connection_holds_new_commands_off_and_the_stream_may_be_another_after_it() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", 3));
    bench.turn([Input::ConnectionChanged { connected: false }]);
    let told = bench.turn([commanded(2, add("tea", "c-2", 3))]);
    assert_eq!(words(&told), ["2: busy broker_disconnected"]);
    assert_eq!(bench.deadline(), None, "it is told when the connection is back");
    let inspect = bench.turn([Input::ConnectionChanged { connected: true }]);
    assert_eq!(words(&inspect), ["inspect"]);
    assert_eq!(bench.turn([super::unknown(&inspect[0])]), []);
    bench.oversleep(LIMITS.backoff_ms_max);
    bind(&mut bench, &mut log);
}

#[test]
fn a_node_that_stops_finishes_what_it_has_begun() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    let append = only(bench.turn([commanded(1, add("tea", "c-1", 3)), commanded(2, add("tea", "c-2", 3))]));
    assert_eq!(bench.turn([Input::Stopped { deadline_ms: 10_000 }]), []);
    assert_eq!(words(&bench.turn([commanded(3, add("tea", "c-3", 3))])), ["3: busy draining"], "INV-DRN-1");
    let told = super::carry(&mut bench, &mut log, vec![append]);
    assert_eq!(told, ["1: accepted 1 v1", "2: accepted 2 v2", "drained, clean: true"]);
    assert_eq!(bench.advance(20_000), [], "reported once");
}

#[test]
pub(super) fn a_node_that_must_stop_at_once_says_what_it_left() {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    only(bench.turn([commanded(1, add("tea", "c-1", 3))]));
    bench.turn([Input::Stopped { deadline_ms: 1_000 }]);
    assert_eq!(words(&bench.advance(1_000)), ["drained, clean: false"], "INV-DRN-2, INV-DRN-3");
}

#[test]
fn a_checkpoint_that_cannot_be_read_halts() {
    let (mut bench, _) = restarted();
    bench.store.rows.insert((Table::Checkpoint, b"checkpoint:aggregate".to_vec()), b"x".to_vec());
    let halt = bench.recovered().expect_err("not a checkpoint");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Checkpoint, .. }), "{halt}");
}
