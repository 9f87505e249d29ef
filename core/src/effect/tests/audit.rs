//! What the ledger says of effects that ended in every way.

use super::{Bench, Desk, Effect, answer, bench, charge, commanded, not_sent, receipt, unknown};
use crate::effect::audit::{Counts, Verdict, audit};
use crate::wire::id::TenantId;

fn call(bench: &mut Bench<Desk>, id: &str, at_most_once: bool) -> Effect {
    let command = if at_most_once { receipt(id) } else { charge(id) };
    bench.turn([commanded(command)]).remove(0)
}

fn again(bench: &mut Bench<Desk>) -> Effect {
    let (at, _) = bench.deadline().expect("a pause");
    bench.advance(at.ms_since(bench.now.mono)).remove(0)
}

#[test]
fn every_effect_is_judged_by_how_it_ended() {
    let mut bench = bench();
    let once = call(&mut bench, "a-once", false);
    bench.turn([answer(&once, 201)]);
    let refused = call(&mut bench, "b-refused", false);
    bench.turn([answer(&refused, 402)]);
    let first = call(&mut bench, "c-not-sent", false);
    bench.turn([not_sent(&first, false)]);
    let second = again(&mut bench);
    bench.turn([answer(&second, 201)]);
    let first = call(&mut bench, "d-twice", false);
    bench.turn([unknown(&first)]);
    let second = again(&mut bench);
    bench.turn([answer(&second, 201)]);
    let lost = call(&mut bench, "e-maybe", true);
    bench.turn([unknown(&lost)]);
    let forbidden = call(&mut bench, "f-forbidden", false);
    bench.turn([not_sent(&forbidden, true)]);
    let first = call(&mut bench, "g-refused-at-last", false);
    bench.turn([unknown(&first)]);
    let second = again(&mut bench);
    bench.turn([answer(&second, 402)]);
    call(&mut bench, "h-open", false);

    let page = audit(&bench.store, None, b"", 100).expect("reads");
    let counts: Vec<String> = page.counts.iter().map(|(effect, own)| format!("{effect} {own:?}")).collect();
    assert_eq!(
        counts,
        [
            "charge_card Counts { once: 2, maybe_twice: 1, refused: 2, maybe: 1, never: 0, by_hand: 0, open: 1 }",
            "send_receipt Counts { once: 0, maybe_twice: 0, refused: 0, maybe: 1, never: 0, by_hand: 0, open: 0 }",
        ]
    );
    let doubtful: Vec<_> =
        page.doubtful.iter().map(|own| (own.command_id.as_str(), own.verdict, own.ambiguous)).collect();
    assert_eq!(
        doubtful,
        [
            ("d-twice", Verdict::MaybeTwice, 1),
            ("e-maybe", Verdict::Maybe, 1),
            ("g-refused-at-last", Verdict::Maybe, 1)
        ]
    );
    assert!(page.doubtful[1].reason.as_deref().is_some_and(|reason| reason.contains("at most once")));
    assert_eq!(page.next, None);

    let other = TenantId::parse("globex").expect("a tenant");
    assert!(audit(&bench.store, Some(&other), b"", 100).expect("reads").counts.is_empty());
    let (mut from, mut seen) = (Vec::new(), 0);
    loop {
        let page = audit(&bench.store, None, &from, 4).expect("reads");
        let sum = |own: &Counts| own.once + own.maybe_twice + own.refused + own.maybe + own.open;
        seen += page.counts.values().map(sum).sum::<u64>();
        let Some(next) = page.next else { break };
        from = next;
    }
    assert_eq!(seen, 8);
}
