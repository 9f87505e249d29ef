//! Refusals that somebody acts on: recorded in the history, where every owner finds them.

use super::script::{answered, only};
use super::{
    Bench, Command, EventLog, Outcome, Published, Style, add, bench, carry, command_row, commanded, key_of,
    record, reserve, subject, submit, unknown, words,
};
use crate::aggregate::{Aggregate, Input};
use crate::marks::Mark;

/// A reservation of a saga, which undoes when it hears no.
fn reserve_for_saga(command_id: &str, qty: u64) -> Command {
    Command { record_refusal: true, ..reserve("tea", command_id, qty) }
}

fn history(log: &EventLog) -> Vec<String> {
    let messages = log.read(&subject(&add("tea", "c-1", 1)));
    messages.iter().flat_map(|message| message.events.iter().map(|event| event.kind.to_string())).collect()
}

fn with_stock(qty: u64) -> (EventLog, Bench<Aggregate>) {
    let mut log = EventLog::new(Style::Single);
    let mut bench = bench(&mut log);
    submit(&mut bench, &mut log, 1, add("tea", "c-1", qty));
    (log, bench)
}

#[test]
pub(super) fn a_recorded_refusal_is_the_answer_of_every_owner() {
    let (mut log, mut first) = with_stock(3);
    let mut second = bench(&mut log);
    assert_eq!(submit(&mut second, &mut log, 2, reserve_for_saga("w-1", 4)), ["2: refused out_of_stock"]);
    assert_eq!(history(&log), ["stock_added", "command_refused"]);
    // There is enough by now; the first owner has had the same command in hand all the time.
    submit(&mut second, &mut log, 3, add("tea", "c-2", 5));
    assert_eq!(submit(&mut first, &mut log, 4, reserve_for_saga("w-1", 4)), ["4: refused out_of_stock"]);
    assert_eq!(history(&log), ["stock_added", "command_refused", "stock_added"], "INV-AGG-2");
}

#[test]
fn a_recorded_refusal_changes_the_version_and_not_the_state() {
    let (mut log, mut bench) = with_stock(3);
    let before = record(&bench, &key_of(&add("tea", "c-1", 3))).expect("a row");
    submit(&mut bench, &mut log, 2, reserve_for_saga("w-1", 4));
    let after = record(&bench, &key_of(&add("tea", "c-1", 3))).expect("a row");
    assert_eq!((after.version, after.last_seq, after.state), (2, 2, before.state));
    assert_eq!(command_row(&bench, &reserve_for_saga("w-1", 4)), None);
    assert_eq!(submit(&mut bench, &mut log, 3, add("tea", "c-2", 5)), ["3: accepted 3 v3"]);
}

#[test]
fn a_refusal_that_meets_somebody_elses_progress_is_decided_again() {
    let (mut log, mut bench) = with_stock(3);
    let load = only(bench.turn([commanded(2, reserve_for_saga("w-1", 4))]));
    let tail = answered(&mut log, &load);
    let append = only(bench.turn([tail]));
    assert_eq!(words(std::slice::from_ref(&append)), ["append after 1"]);
    log.rival(&add("tea", "r-1", 5), &[("stock_added", serde_json::json!({ "qty": 5 }))]);
    assert_eq!(carry(&mut bench, &mut log, vec![append]), ["2: accepted 3 v3"]);
    assert_eq!(history(&log), ["stock_added", "stock_added", "stock_reserved"]);
}

#[test]
fn a_refusal_without_an_answer_is_looked_for() {
    for landed in [true, false] {
        let (mut log, mut bench) = with_stock(3);
        let load = only(bench.turn([commanded(2, reserve_for_saga("w-1", 4))]));
        let tail = answered(&mut log, &load);
        let append = only(bench.turn([tail]));
        if landed {
            log.perform(&append);
        }
        bench.turn([unknown(&append)]);
        let (at, _) = bench.deadline().expect("a pause");
        let effects = bench.advance(at.ms_since(bench.now.mono));
        assert_eq!(carry(&mut bench, &mut log, effects), ["2: refused out_of_stock"], "landed: {landed}");
        assert_eq!(history(&log), ["stock_added", "command_refused"]);
        assert_eq!(bench.marked(Mark::AggregateFoundOwn), u64::from(landed));
    }
}

#[test]
fn a_new_store_reads_recorded_refusals_from_the_stream() {
    let (mut log, mut old) = with_stock(3);
    submit(&mut old, &mut log, 2, reserve_for_saga("w-1", 4));
    submit(&mut old, &mut log, 3, add("tea", "c-2", 5));
    let mut fresh = bench(&mut log);
    assert_eq!(submit(&mut fresh, &mut log, 4, reserve_for_saga("w-1", 4)), ["4: refused out_of_stock"]);
}

#[test]
fn a_duplicate_answer_to_a_refusal_is_looked_into() {
    let (mut log, mut bench) = with_stock(3);
    let load = only(bench.turn([commanded(2, reserve_for_saga("w-1", 4))]));
    let tail = answered(&mut log, &load);
    let append = only(bench.turn([tail]));
    log.perform(&append);
    let token = super::token(&append).expect("a request");
    let outcome = Outcome::Done(Published { seq: 2, duplicate: true });
    let effects = bench.turn([Input::Appended { token, outcome }]);
    assert_eq!(words(&effects), ["load 2.."]);
    assert_eq!(carry(&mut bench, &mut log, effects), ["2: refused out_of_stock"]);
}
