//! What an operator lets go: scripts.

use super::super::operate::{Operated, Operation, Verb};
use super::super::release::{Due, Fared};
use super::super::selection::{Doing, SELECTIONS_MAX, Selection, SelectionId};
use super::{Input, Ward, bench, broken, key, listed, parked, sound};
use crate::bench::Bench;
use crate::cx::Cx;
use crate::halt::Halt;
use crate::operator::{Reason, Refusal};
use crate::quarantine::{Cause, Quarantine, Which};
use crate::store::Table;
use crate::time::Now;
use crate::wire::id::TenantId;
use crate::wire::keys;

impl Ward {
    pub(super) fn on_turn_came(
        &mut self,
        now: Now,
        left: u32,
        cx: &mut Cx<'_, Input, String>,
    ) -> Result<(), Halt> {
        let Some(turn) = self.0.turn(cx.view())? else { return Ok(()) };
        let own = turn.key.display();
        let name = own.rsplit(':').next().unwrap_or_default();
        let fared = match &turn.due {
            Due::Discard => Fared::Discarded,
            Due::Replay { message, .. } if message.payload == b"it has ended" => Fared::Superseded,
            Due::Replay { message, .. } if self.1 || message.payload == b"edited" => {
                cx.put(Table::View, &keys::position(message.stream_seq), name.as_bytes());
                cx.emit(format!("applied {name} {}", message.stream_seq));
                Fared::Applied
            }
            Due::Replay { message, .. } => {
                let cause =
                    Cause { kind: "still_broken".into(), detail: format!("{} is", message.stream_seq) };
                Fared::Failed { cause, definition: None }
            }
        };
        self.0.fared(now, &turn, fared, cx)?;
        if left > 1 {
            cx.then(Input::TurnCame(left - 1));
        }
        Ok(())
    }
}

/// An answer, for a script.
pub(super) fn told(answer: Result<Operated, Refusal>) -> String {
    match answer {
        Ok(Operated::Selection { id, selection, changed, .. }) => {
            format!("{id}: {} of {} left, changed: {changed}", selection.left, selection.keys)
        }
        Ok(Operated::Key { messages, changed, .. }) => format!("holds {messages}, changed: {changed}"),
        Err(refusal) => refusal.to_string(),
    }
}

fn reason() -> Reason {
    Reason::parse("mended").expect("a reason")
}

fn asked(verb: Verb) -> Input {
    Input::Asked(Operation { tenant: None, verb })
}

fn select() -> Input {
    asked(Verb::Select { which: Which::default(), after: String::new(), reason: reason() })
}

fn id(raw: &str) -> SelectionId {
    SelectionId::parse(raw).expect("an id")
}

fn replay(raw: &str) -> Input {
    asked(Verb::Replay { selection: id(raw), per_second: 1_000, migrate: false })
}

fn discard(raw: &str) -> Input {
    asked(Verb::Discard { selection: id(raw) })
}

fn unselect(raw: &str) -> Input {
    asked(Verb::Unselect { selection: id(raw) })
}

fn skip(name: &str, position: u64) -> Input {
    asked(Verb::Skip { key: key(name), position, reason: reason() })
}

fn edit(name: &str, position: u64, payload: &[u8]) -> Input {
    asked(Verb::Edit { key: key(name), position, payload: payload.to_vec(), reason: reason() })
}

fn selection(bench: &Bench<Ward>, raw: &str) -> Selection {
    Quarantine::selections(&bench.store).expect("reads").remove(&id(raw)).expect("on record")
}

#[test]
pub(super) fn what_is_selected_is_redriven_first_message_first() {
    let mut bench = bench();
    bench.turn([broken("a", 1), broken("b", 2), sound("a", 3)]);
    assert_eq!(bench.turn([select()]), ["s-1: 2 of 2 left, changed: true"]);
    assert_eq!(bench.turn([sound("a", 4), broken("c", 5), Input::Mended]), ["parked a 4", "parked c 5"]);
    let said = bench.turn([replay("s-1")]);
    assert_eq!(said[0], "s-1: 2 of 2 left, changed: true");
    assert_eq!(said[1..], ["applied a 1", "applied a 3", "applied a 4", "applied b 2"], "INV-QRN-1");
    let own = selection(&bench, "s-1");
    assert_eq!((own.released, own.failed, own.applied, own.has_ended()), (2, 0, 4, true), "INV-QRN-4");
    assert_eq!(bench.turn([sound("a", 6)]), ["applied a 6"], "the key is free");
    assert_eq!(parked(&bench), [(key("c").display(), vec![5])].into(), "what is selected is frozen");
    assert_eq!(Quarantine::groups(&bench.store, "", 10).expect("reads").items.len(), 1);
}

#[test]
pub(super) fn what_fails_again_stays_with_all_that_follows() {
    let mut bench = bench();
    bench.turn([broken("a", 1), sound("a", 2)]);
    bench.turn([select(), replay("s-1")]);
    assert_eq!(parked(&bench), [(key("a").display(), vec![1, 2])].into(), "INV-QRN-4");
    let own = selection(&bench, "s-1");
    assert_eq!((own.released, own.failed, own.applied, own.has_ended()), (0, 1, 0, true));
    let listed = listed(&bench, &Which::default());
    assert_eq!((listed[0].cause.kind.as_str(), listed[0].selection), ("still_broken", None));
    let groups = Quarantine::groups(&bench.store, "", 10).expect("reads").items;
    let kinds: Vec<_> = groups.iter().map(|own| (own.kind.as_str(), own.keys, own.messages)).collect();
    assert_eq!(kinds, [("still_broken", 1, 2)], "INV-QRN-3: it has a new reason");
    assert_eq!(bench.turn([select()]), ["s-2: 1 of 1 left, changed: true"], "and may be selected again");
}

#[test]
fn a_crash_at_any_time_goes_on_where_it_was() {
    let mut bench = bench();
    bench.turn([broken("a", 1), sound("a", 2), broken("b", 3)]);
    let slowly = asked(Verb::Replay { selection: id("s-1"), per_second: 1, migrate: false });
    let mut applied = bench.turn([select(), slowly, Input::Mended]).split_off(2);
    for _ in 0..2 {
        bench.crash();
        applied.extend(bench.turn([Input::Mended]));
    }
    assert_eq!(applied, ["applied a 1", "applied a 2", "applied b 3"]);
    assert!(selection(&bench, "s-1").has_ended());
}

#[test]
fn no_more_than_it_may_leaves_in_a_second() {
    let mut bench = bench();
    bench.turn([broken("a", 1), sound("a", 2), sound("a", 3), Input::Mended]);
    let said =
        bench.turn([select(), asked(Verb::Replay { selection: id("s-1"), per_second: 2, migrate: false })]);
    assert_eq!(said[2..], ["applied a 1"]);
    assert_eq!(bench.advance(499), [""; 0]);
    assert_eq!(bench.advance(1), ["applied a 2"]);
    assert_eq!(bench.advance(500), ["applied a 3"]);
}

#[test]
fn what_is_discarded_is_gone_and_the_key_free() {
    let mut bench = bench();
    bench.turn([broken("a", 1), sound("a", 2)]);
    bench.turn([select(), discard("s-1")]);
    bench.settle();
    assert_eq!(parked(&bench), [].into());
    let own = selection(&bench, "s-1");
    assert_eq!((own.released, own.discarded, own.applied), (1, 2, 0));
    assert_eq!(bench.turn([sound("a", 3)]), ["applied a 3"]);
}

#[test]
fn a_message_can_be_edited_and_the_first_one_skipped() {
    let mut bench = bench();
    bench.turn([broken("a", 1), broken("a", 2), sound("a", 3)]);
    assert_eq!(bench.turn([skip("a", 1)]), ["only the first message of a key can be skipped: that is 0"]);
    assert_eq!(
        bench.turn([skip("a", 0), skip("a", 0)]),
        ["holds 2, changed: true", "holds 2, changed: false"]
    );
    let edits = [edit("a", 1, b"edited"), edit("a", 1, b"edited"), edit("a", 2, b"it has ended")];
    let said = bench.turn(edits);
    assert_eq!(said, ["holds 2, changed: true", "holds 2, changed: false", "holds 2, changed: true"]);
    assert_eq!(
        bench.turn([edit("a", 7, b"")]),
        [format!("message 7 of {} does not exist", key("a").display())]
    );
    let messages = Quarantine::messages(&bench.store, &key("a"), 0, 10).expect("reads");
    assert!(messages.iter().all(|own| own.edited.as_ref().is_some_and(|own| own.reason == "mended")));
    assert_eq!(bench.turn([select(), replay("s-1")])[2..], ["applied a 2"]);
    let own = selection(&bench, "s-1");
    assert_eq!((own.applied, own.superseded, own.released), (1, 1, 1));
}

#[test]
fn what_is_selected_belongs_to_one_selection() {
    let mut bench = bench();
    assert_eq!(bench.turn([select()]), ["a quarantined key like that does not exist"]);
    bench.turn([broken("a", 1), broken("b", 2)]);
    bench.turn([select()]);
    let taken = "it is part of s-1 already: unselect that first";
    assert_eq!(bench.turn([select(), skip("a", 0), edit("a", 0, b"x")]), [taken; 3]);
    assert_eq!(bench.turn([replay("s-7")]), ["selection s-7 does not exist"]);
    let foreign = TenantId::parse("acme").expect("a tenant");
    let foreign = Operation { tenant: Some(foreign), verb: Verb::Unselect { selection: id("s-1") } };
    assert_eq!(bench.turn([Input::Asked(foreign)]), ["selection s-1 does not exist"]);
    bench.turn([asked(Verb::Replay { selection: id("s-1"), per_second: 1, migrate: false })]);
    let said = bench.turn([discard("s-1"), unselect("s-1"), unselect("s-1"), replay("s-1")]);
    let under_way = "s-1 is under way: unselect what is left of it, and select that anew";
    let finished = "selection s-1 has finished: nothing of it can be changed";
    let done = ["s-1: 0 of 2 left, changed: true", "s-1: 0 of 2 left, changed: false"];
    assert_eq!(said, [under_way, done[0], done[1], finished]);
    let own = selection(&bench, "s-1");
    assert_eq!((own.failed, own.given_back), (1, 1), "INV-QRN-4");
    assert_eq!(bench.turn([select()]), ["s-2: 2 of 2 left, changed: true"]);
}

#[test]
fn the_oldest_selection_that_ended_is_forgotten_for_a_new_one() {
    let mut bench = bench();
    bench.turn([broken("a", 1)]);
    for nth in 1..=SELECTIONS_MAX {
        bench.turn([select(), unselect(&format!("s-{nth}"))]);
    }
    bench.turn([select()]);
    let all = Quarantine::selections(&bench.store).expect("reads");
    assert_eq!((all.len(), all.keys().next().copied()), (SELECTIONS_MAX, Some(id("s-2"))));
    assert_eq!(all.values().filter(|own| own.doing == Doing::Waiting).count(), 1);
}
