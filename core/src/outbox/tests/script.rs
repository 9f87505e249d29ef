//! The diagram of the module, arrow by arrow, and its invariants by name.

use super::{
    Bench, Config, Effect, Entry, Found, Input, LIMITS, Landed, Relay, bench, command, config, conflict,
    done, enqueued, message, not_now, result, settled, token, unknown, waiting, words,
};
use crate::halt::Halt;
use crate::invariants::Invariant;
use crate::marks::Mark;
use crate::outbox::{self, CommandRefused, Limits, Place, Timer};
use crate::outcome::{Outcome, Token};
use crate::program::contract::Refusal;
use crate::store::Table;
use crate::time::Mono;
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::headers;
use crate::wire::keys;

/// The effect of a turn that must cause exactly one.
fn only(mut effects: Vec<Effect>) -> Effect {
    assert_eq!(effects.len(), 1, "{effects:?}");
    effects.remove(0)
}

fn enqueue(bench: &mut Bench<Relay>, entries: impl IntoIterator<Item = Entry>) -> Vec<Effect> {
    bench.turn(entries.into_iter().map(enqueued))
}

/// The next attempt, after the longest pause there can be.
fn next_attempt(bench: &mut Bench<Relay>) -> Effect {
    only(bench.advance(LIMITS.backoff_ms_max))
}

fn refused(effect: &Effect, why: PublishRefused) -> Input {
    let outcome = Outcome::Refused(why);
    Input::Outbox(outbox::Input::PublishAnswered { token: token(effect), outcome })
}

fn looked(effect: &Effect, found: Found) -> Input {
    Input::Outbox(outbox::Input::Looked { token: token(effect), outcome: Outcome::Done(found) })
}

fn nothing_waits(bench: &Bench<Relay>) {
    assert_eq!((bench.machine().0.depth(), bench.deadline()), (0, None));
    assert!(waiting(bench).is_empty());
}

#[test]
fn a_message_is_stored_published_and_removed_when_it_is_there() {
    let mut bench = bench();
    let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    assert_eq!(words(std::slice::from_ref(&publish)), ["publish w-1"]);
    assert_eq!(waiting(&bench), [(0, message("o-1", "w-1"))].into());
    let give_up_at = Mono::ZERO.plus_ms(LIMITS.attempt_timeout_ms);
    assert_eq!((bench.machine().0.in_flight(), bench.deadline()), (1, Some((give_up_at, Timer::Retry))));
    assert_eq!(bench.turn([done(&publish, 7)]), []);
    assert_eq!(settled(&bench), ["w-1 published 7"]);
    nothing_waits(&bench);
}

#[test]
fn a_command_is_submitted_and_its_answer_is_for_whoever_asked() {
    let mut bench = bench();
    let effects = enqueue(&mut bench, [command("o-1", "w-1"), command("o-2", "w-2")]);
    assert_eq!(words(&effects), ["submit w-1", "submit w-2"]);
    let refusal = Refusal { code: "out_of_stock".into(), message: "none".into() };
    let outcome = Outcome::Refused(CommandRefused::Refusal(refusal));
    let refused = Input::Outbox(outbox::Input::CommandAnswered { token: token(&effects[1]), outcome });
    bench.turn([refused, done(&effects[0], 3)]);
    assert_eq!(settled(&bench), ["w-2 refused out_of_stock", "w-1 accepted 3 v3"]);
    nothing_waits(&bench);
}

#[test]
fn a_message_too_large_for_the_broker_is_refused_for_good() {
    let mut bench = bench();
    let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    bench.turn([refused(&publish, PublishRefused::TooLarge)]);
    assert_eq!(settled(&bench), ["w-1 refused too_large"]);
    nothing_waits(&bench);
}

#[test]
pub(super) fn what_has_no_answer_or_cannot_be_done_now_is_tried_again_after_a_pause() {
    let misconfigured = PublishRefused::Misconfigured { err_code: 10_060, description: "no".into() };
    type Answer<'a> = &'a dyn Fn(&Effect) -> Input;
    let answers: [(Answer<'_>, Mark); 4] = [
        (&unknown, Mark::OutboxRetryUnknown),
        (&not_now, Mark::OutboxRetryBusy),
        (&|effect| refused(effect, PublishRefused::Full), Mark::OutboxRetryBusy),
        (&|effect| refused(effect, misconfigured.clone()), Mark::OutboxRetryBusy),
    ];
    for (answer, mark) in answers {
        let mut bench = bench();
        let mut attempt = only(enqueue(&mut bench, [message("o-1", "w-1")]));
        for attempts in 1..12 {
            assert_eq!(bench.turn([answer(&attempt)]), [], "not at once");
            let pause = bench.deadline().expect("tries again").0.ms_since(bench.now.mono);
            assert!((1..=LIMITS.backoff_ms_max).contains(&pause), "{pause}");
            assert!(attempts > 1 || pause <= LIMITS.backoff_ms, "the first pause is short: {pause}");
            assert_eq!(bench.advance(pause - 1), []);
            let next = only(bench.advance(1));
            assert_ne!(token(&next), token(&attempt), "every attempt has a name of its own");
            attempt = next;
            assert_eq!(bench.marked(mark), attempts);
        }
        assert_eq!(waiting(&bench).len(), 1, "INV-OUT-2");
        bench.turn([done(&attempt, 1)]);
        nothing_waits(&bench);
    }
}

#[test]
fn an_answer_that_never_comes_counts_as_none() {
    let mut bench = bench();
    let first = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    assert_eq!(bench.advance(LIMITS.attempt_timeout_ms), []);
    assert_eq!((bench.machine().0.in_flight(), bench.marked(Mark::OutboxRetryUnknown)), (0, 1));
    let second = next_attempt(&mut bench);
    assert_eq!(bench.turn([done(&first, 1)]), [], "too late");
    assert_eq!((settled(&bench), bench.marked(Mark::OutboxStale)), (vec![], 1));
    bench.turn([done(&second, 1)]);
    assert_eq!(settled(&bench), ["w-1 published 1"]);
}

#[test]
pub(super) fn the_id_of_what_leaves_names_the_entry_and_not_the_attempt() {
    let mut bench = bench();
    let mut attempt = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    for _ in 0..3 {
        let Effect::Publish { subject, headers: own, .. } = &attempt else { panic!("{attempt:?}") };
        assert_eq!(subject, "tenant.acme.effect.charge_card.w-1");
        assert_eq!(own.get(headers::NATS_MSG_ID), Some(subject.as_str()), "INV-OUT-3");
        assert_eq!(own.get(headers::NATS_EXPECTED_STREAM), Some("WORKFLOW_COMMANDS"));
        assert_eq!(own.get(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE), Some("0"));
        assert_eq!(own.get(headers::TENANT_ID), Some("acme"));
        bench.turn([unknown(&attempt)]);
        bench.crash();
        attempt = only(bench.settle());
    }
    let Effect::Publish { headers: own, .. } = only(enqueue(&mut bench, [result("w-2")])) else { panic!() };
    assert_eq!(own.get(headers::NATS_EXPECTED_STREAM), Some("WORKFLOW_EVENTS"));
}

#[test]
pub(super) fn a_conflict_is_looked_into_before_it_is_believed() {
    let own_id = "tenant.acme.effect.charge_card.w-1";
    let message_of = |msg_id: Option<&str>| Found::Message { seq: 4, msg_id: msg_id.map(str::to_owned) };
    for (found, end, mark) in [
        (message_of(Some(own_id)), "w-1 published 4", Mark::OutboxFoundOwn),
        (message_of(Some("other")), "w-1 refused subject_taken", Mark::OutboxForeign),
        (message_of(None), "w-1 refused subject_taken", Mark::OutboxForeign),
    ] {
        let mut bench = bench();
        let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
        let look = only(bench.turn([conflict(&publish)]));
        assert_eq!(words(std::slice::from_ref(&look)), ["look w-1"], "INV-OUT-6");
        // Whoever comes after us is behind our message, and before it nobody's may be.
        assert!(matches!(&look, Effect::Look { place: Place::First, .. }), "{look:?}");
        assert_eq!((settled(&bench), bench.machine().0.in_flight()), (vec![], 1));
        bench.turn([looked(&look, found)]);
        assert_eq!((settled(&bench), bench.marked(mark)), (vec![end.into()], 1));
        nothing_waits(&bench);
    }
}

#[test]
fn a_look_that_finds_nothing_or_has_no_answer_leads_to_another_attempt() {
    let mut bench = bench();
    let mut publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    for answer in [&unknown as &dyn Fn(&Effect) -> Input, &not_now] {
        let look = only(bench.turn([conflict(&publish)]));
        assert_eq!(bench.turn([answer(&look)]), []);
        publish = next_attempt(&mut bench);
        assert_eq!(words(std::slice::from_ref(&publish)), ["publish w-1"]);
    }
    only(bench.turn([conflict(&publish)]));
    assert_eq!(bench.advance(LIMITS.attempt_timeout_ms), [], "a look may stay without answer too");
    assert_eq!(words(&[next_attempt(&mut bench)]), ["publish w-1"]);
}

#[test]
pub(super) fn the_entries_of_one_lane_leave_in_order_and_one_at_a_time() {
    let mut bench = bench();
    let first = enqueue(&mut bench, [message("o-1", "w-1"), command("o-1", "w-2"), message("o-1", "w-3")]);
    assert_eq!(words(&first), ["publish w-1"], "INV-OUT-1");
    assert_eq!(bench.marked(Mark::OutboxLaneBlocked), 2);
    bench.turn([unknown(&first[0])]);
    assert_eq!(words(&enqueue(&mut bench, [message("o-2", "w-4")])), ["publish w-4"], "lanes do not wait");
    let again = next_attempt(&mut bench);
    let second = bench.turn([done(&again, 1)]);
    assert_eq!(words(&second), ["submit w-2"]);
    let third = bench.turn([done(&second[0], 2)]);
    assert_eq!(words(&third), ["publish w-3"]);
}

#[test]
fn a_refused_entry_does_not_block_its_lane() {
    let mut bench = bench();
    let first = only(enqueue(&mut bench, [message("o-1", "w-1"), message("o-1", "w-2")]));
    assert_eq!(words(&bench.turn([refused(&first, PublishRefused::TooLarge)])), ["publish w-2"]);
}

#[test]
fn no_more_are_in_flight_than_the_window_allows() {
    let mut bench = bench();
    let entries = ["w-1", "w-2", "w-3", "w-4", "w-5", "w-6", "w-7"].map(result);
    let mut effects = enqueue(&mut bench, entries);
    assert_eq!(words(&effects), ["publish w-1", "publish w-2"], "INV-OUT-4");
    assert_eq!(bench.marked(Mark::OutboxWindowFull), 3, "four are tracked, the rest is on disk");
    let mut order = Vec::new();
    while !effects.is_empty() {
        let attempt = effects.remove(0);
        assert!(bench.machine().0.in_flight() <= LIMITS.in_flight_max);
        order.extend(words(std::slice::from_ref(&attempt)));
        effects.extend(bench.turn([done(&attempt, 1)]));
    }
    assert_eq!(order.join(", "), (1..=7).map(|n| format!("publish w-{n}")).collect::<Vec<_>>().join(", "));
    nothing_waits(&bench);
}

#[test]
fn a_pause_leaves_its_place_to_others() {
    let mut bench = bench();
    let effects = enqueue(&mut bench, ["w-1", "w-2", "w-3"].map(result));
    assert_eq!(words(&bench.turn([unknown(&effects[0])])), ["publish w-3"]);
}

#[test]
fn what_was_in_flight_at_a_crash_leaves_again() {
    let mut bench = bench();
    let first = only(enqueue(&mut bench, [message("o-1", "w-1"), message("o-1", "w-2")]));
    bench.crash();
    let again = bench.settle();
    assert_eq!(words(&again), ["publish w-1"]);
    assert_ne!(token(&again[0]).incarnation, token(&first).incarnation);
    assert_eq!(bench.turn([done(&first, 1)]), [], "an answer for an earlier life");
    assert_eq!(waiting(&bench).len(), 2);
    assert_eq!(words(&bench.turn([done(&again[0], 1)])), ["publish w-2"]);
}

#[test]
fn an_entry_whose_commit_failed_does_not_leave() {
    for (landed, left) in [(Landed::Yes, vec!["publish w-1"]), (Landed::No, vec![])] {
        let mut bench = bench();
        assert_eq!(bench.turn_without_answer(landed, [enqueued(message("o-1", "w-1"))]), []);
        assert_eq!(words(&bench.settle()), left);
    }
}

#[test]
fn an_end_whose_commit_failed_is_found_out_anew() {
    let mut bench = bench();
    let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    bench.turn_without_answer(Landed::No, [done(&publish, 7)]);
    let again = only(bench.settle());
    let look = only(bench.turn([conflict(&again)]));
    bench.turn([done(&look, 7)]);
    assert_eq!(settled(&bench), ["w-1 published 7"]);
}

#[test]
pub(super) fn positions_are_never_used_again() {
    let mut bench = bench();
    let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    bench.turn([done(&publish, 1)]);
    bench.crash();
    enqueue(&mut bench, [message("o-1", "w-2")]);
    assert_eq!(waiting(&bench).into_keys().collect::<Vec<_>>(), [1], "INV-OUT-5");
}

#[test]
pub(super) fn a_life_that_begins_with_holes_behind_its_last_entry_waits_quietly() {
    let mut bench = bench();
    let effects = enqueue(&mut bench, ["w-1", "w-2", "w-3"].map(result));
    let third = bench.turn([done(&effects[1], 2)]);
    bench.turn([done(&third[0], 3)]);
    bench.crash();
    assert_eq!(words(&bench.settle()), ["publish w-1"]);
    assert_ne!(bench.deadline(), Some((Mono::ZERO, Timer::Retry)), "there is nothing to read from disk");
    assert_eq!(words(&enqueue(&mut bench, [result("w-4")])), ["publish w-4"]);
    assert_eq!(bench.marked(Mark::OutboxWindowFull), 0);
}

#[test]
pub(super) fn an_answer_that_names_no_attempt_changes_nothing() {
    let mut bench = bench();
    let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    let before = bench.machine().clone();
    let token = Token { incarnation: 0, seq: 1 };
    let outcome = Outcome::Done(Published { seq: 9, duplicate: false });
    bench.turn([Input::Outbox(outbox::Input::PublishAnswered { token, outcome })]);
    assert_eq!((bench.machine(), bench.marked(Mark::OutboxStale)), (&before, 1));
    bench.turn([done(&publish, 1), done(&publish, 1)]);
    assert_eq!(settled(&bench), ["w-1 published 1"], "an answer told twice is heard once");
}

#[test]
fn a_tail_that_does_not_pass_every_row_halts() {
    let mut bench = bench();
    enqueue(&mut bench, [message("o-1", "w-1")]);
    bench.store.rows.insert((Table::Meta, b"outbox_tail".to_vec()), keys::position(0).to_vec());
    let halt = bench.recovered().expect_err("reuses a position");
    assert!(matches!(&halt, Halt::Broken(broken) if broken.invariant == Invariant::Out5), "{halt}");
}

#[test]
fn rows_that_cannot_be_read_halt() {
    let corrupt = |key: &[u8], row: &[u8]| {
        let mut bench = bench();
        enqueue(&mut bench, ["w-1", "w-2", "w-3", "w-4"].map(result));
        bench.store.rows.insert((Table::Outbox, key.to_vec()), row.to_vec());
        bench
    };
    let acme = crate::wire::id::TenantId::parse("acme").expect("a tenant");
    let halt = corrupt(b"key", b"{}").recovered().expect_err("not a position");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Outbox, .. }), "{halt}");
    let third = keys::outbox(&acme, 2);
    let halt = corrupt(&third, b"e {}").recovered().err();
    assert_eq!(halt, None, "what is not needed is not read");
    let mut bench = corrupt(&third, b"e {}");
    bench.crash();
    let halt = bench.try_turn([]).expect_err("not an entry");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Outbox, .. }), "{halt}");
}

#[test]
fn a_window_of_one_still_gets_everything_out() {
    let limits = Limits { in_flight_max: 1, tracked_max: 1, tracked_tenant_max: 1, ..LIMITS };
    let mut bench = Bench::<Relay>::new(Config { limits, ..config() });
    let mut effects = enqueue(&mut bench, [message("o-1", "w-1"), message("o-2", "w-2"), result("w-3")]);
    while let Some(attempt) = effects.pop() {
        effects = bench.turn([done(&attempt, 1)]);
        assert!(effects.len() <= 1);
    }
    assert_eq!(settled(&bench), ["w-1 published 1", "w-2 published 1", "w-3 result published 1"]);
}

#[test]
pub(super) fn while_it_is_held_nothing_leaves_and_nothing_counts_as_stored() {
    let mut bench = bench();
    let effects = enqueue(&mut bench, [message("o-1", "w-1"), command("o-2", "w-2")]);
    assert_eq!(words(&effects), ["publish w-1", "submit w-2"]);
    assert_eq!(bench.turn([Input::Held(true), done(&effects[0], 7), done(&effects[1], 8)]), []);
    assert_eq!(enqueue(&mut bench, [message("o-3", "w-3")]), []);
    assert_eq!((bench.marked(Mark::OutboxHeld), waiting(&bench).len()), (2, 3), "INV-OUT-2");
    assert_eq!(bench.advance(LIMITS.backoff_ms_max), [], "held back, and not spinning");
    assert_eq!(bench.deadline(), None);

    let effects = bench.turn([Input::Held(false)]);
    assert_eq!(words(&effects), ["publish w-1", "submit w-2"]);
    let look = only(bench.turn([conflict(&effects[0])]));
    assert_eq!(words(std::slice::from_ref(&look)), ["look w-1"]);
    let third = bench.turn([done(&look, 7), done(&effects[1], 8)]);
    assert_eq!(
        (words(&third), settled(&bench)),
        (vec!["publish w-3".into()], vec!["w-1 published 7".into(), "w-2 accepted 8 v8".into()])
    );
    bench.turn([done(&third[0], 9)]);
    nothing_waits(&bench);
}

#[test]
fn a_refusal_ends_an_entry_that_is_held_and_a_look_does_not() {
    let mut bench = bench();
    let publish = only(enqueue(&mut bench, [message("o-1", "w-1")]));
    let look = only(bench.turn([conflict(&publish)]));
    assert_eq!(bench.turn([Input::Held(true), done(&look, 7)]), []);
    assert_eq!((settled(&bench), bench.marked(Mark::OutboxHeld)), (vec![], 1));
    assert_eq!(bench.turn([Input::Held(false)]), []);
    let publish = next_attempt(&mut bench);
    bench.turn([Input::Held(true), refused(&publish, PublishRefused::TooLarge)]);
    assert_eq!(settled(&bench), ["w-1 refused too_large"]);
}
