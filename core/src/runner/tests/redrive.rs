//! What an operator lets go again, through the whole path.

use super::{
    Config, Done, Input, Operation, Source, Status, World, config, json, order_events, shop_with, tenant,
};
use crate::operator::{Reason, Refusal};
use crate::quarantine::operate::{self, Operated, Verb};
use crate::quarantine::selection::{Selection, SelectionId};
use crate::quarantine::{Quarantine, QuarantineKey, Which};
use crate::saga;
use serde_json::Value;

pub(super) fn reason() -> Reason {
    Reason::parse("mended").expect("a reason")
}

impl World {
    /// A world whose only saga is the odd one, with this manifest.
    pub(super) fn of_odd(manifest: &str) -> Self {
        let mut sagas = shop_with(&[("sagas/odd.yaml", manifest)]).sagas;
        sagas.retain(|name, _| name.as_str() == "odd");
        let mut world = Self::new(Config { sagas, ..config() });
        world.run();
        world
    }

    /// The same store and streams under another manifest.
    pub(super) fn reborn(mut self, manifest: &str) -> Self {
        let mut sagas = shop_with(&[("sagas/odd.yaml", manifest)]).sagas;
        sagas.retain(|name, _| name.as_str() == "odd");
        self.bench = crate::bench::Bench::with(self.bench.store.clone(), Config { sagas, ..config() });
        self.run();
        self
    }

    pub(super) fn do_with_held(&mut self, verb: Verb) -> Result<Operated, Refusal> {
        let ticket = self.answered.len() as u64;
        let operation = Operation::Quarantine(operate::Operation { tenant: None, verb });
        let effects = self.bench.turn([Input::Asked { ticket, operation: Box::new(operation) }]);
        self.carry(effects);
        let answered = self.answered.iter().find(|own| own.ticket == ticket).expect("answered");
        match answered.answer.clone()? {
            Done::Quarantine(operated) => Ok(operated),
            other @ (Done::Saga(_) | Done::Schedule(_) | Done::Effect(_) | Done::Replay(_)) => {
                panic!("{other:?}")
            }
        }
    }

    /// Everything that is held back is redriven, as far as it goes.
    pub(super) fn replay_all(&mut self) -> Selection {
        self.replay_with(false)
    }

    fn replay_with(&mut self, migrate: bool) -> Selection {
        self.select_all(|selection| Verb::Replay { selection, per_second: 1_000, migrate })
    }

    pub(super) fn discard_all(&mut self) -> Selection {
        self.select_all(|selection| Verb::Discard { selection })
    }

    fn select_all(&mut self, then: impl FnOnce(SelectionId) -> Verb) -> Selection {
        let verb = Verb::Select { which: Which::default(), after: String::new(), reason: reason() };
        let Ok(Operated::Selection { id, .. }) = self.do_with_held(verb) else { panic!("nothing to select") };
        self.do_with_held(then(id)).expect("begins");
        let effects = self.bench.advance(10_000);
        self.carry(effects);
        Quarantine::selections(&self.bench.store).expect("reads").remove(&id).expect("on record")
    }
}

/// The odd saga, whose program was mended.
fn mended() -> String {
    super::ODD.replace("= state.missing", "1")
}

#[test]
fn an_instance_goes_on_in_order_when_its_program_is_mended() {
    let mut world = World::of_odd(super::ODD);
    for order in ["o-1", "o-2", "o-3"] {
        world.publish(&order_events("acme", order, 1, &["order_shipped"]));
    }
    world.run();
    assert_eq!(world.quarantined()[0].messages, 3);
    let again = world.replay_all();
    assert_eq!((again.failed, again.applied), (1, 0), "nothing is mended yet");
    assert_eq!(world.quarantined()[0].messages, 3);
    let mut world = world.reborn(&mended());
    let again = world.replay_all();
    assert_eq!((again.released, again.applied), (1, 3), "INV-QRN-4");
    assert_eq!(world.quarantined(), []);
    assert_eq!(world.instance("odd", "acme", "p").expect("an instance").state, json!({ "n": 1 }));
    world.publish(&order_events("acme", "o-4", 1, &["order_shipped"]));
    world.run();
    assert_eq!(world.quarantined(), [], "it is free");
}

#[test]
fn the_end_of_work_is_kept_whole_and_applied_when_it_can_be() {
    let mut world = World::of_odd(super::ODD);
    world.place("acme", "o-1");
    world.run();
    assert_eq!(world.quarantined().len(), 1);
    let works = |world: &World| world.instance("odd", "acme", "o-1").expect("an instance").works;
    assert_eq!(works(&world)[0].state, saga::WorkState::InFlight);
    let mut world = world.reborn(&mended());
    assert_eq!(world.replay_all().failed, 1, "INV-SAGA-8: it began under the one that cannot");
    assert_eq!(world.replay_with(true).applied, 1);
    assert_eq!(works(&world)[0].state, saga::WorkState::Done);
}

#[test]
fn what_follows_a_skipped_message_starts_its_saga() {
    let mut world = World::bound();
    let garbage = |world: &mut World| {
        let subject = order_events("acme", "o-1", 1, &[]).route().subject();
        world.stream(Source::Events).store(subject.as_str(), Default::default(), b"no event".to_vec());
    };
    garbage(&mut world);
    world.place("acme", "o-1");
    world.run();
    let held = world.quarantined();
    assert_eq!((held.len(), held[0].messages, world.status("acme", "o-1")), (1, 2, None));
    let key = QuarantineKey::parse(&held[0].key).expect("a key");
    assert_eq!(world.replay_all().failed, 1);
    let done = world.do_with_held(Verb::Skip { key, position: 0, reason: reason() });
    assert!(matches!(done, Ok(Operated::Key { messages: 1, changed: true, .. })), "{done:?}");
    assert_eq!((world.replay_all().released, world.quarantined()), (1, vec![]));
    world.run();
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
}

#[test]
fn what_came_for_an_instance_that_was_killed_is_superseded() {
    let mut world = World::of_odd(super::ODD);
    world.place("acme", "o-1");
    world.run();
    let (saga, correlation) = ("odd".parse().expect("a name"), "o-1".parse().expect("an id"));
    let verb = saga::Verb::Kill { reason: reason() };
    let operation = saga::Operation { tenant: tenant("acme"), saga, correlation, verb };
    let asked = Input::Asked { ticket: 0, operation: Box::new(Operation::Saga(operation)) };
    let effects = world.bench.turn([asked]);
    world.carry(effects);
    let again = world.replay_all();
    assert_eq!((again.superseded, again.released, world.quarantined()), (1, 1, vec![]));
}

#[test]
fn an_edited_message_must_be_one_for_its_instance() {
    let mut world = World::of_odd(super::ODD);
    world.publish(&order_events("acme", "o-1", 1, &["order_shipped"]));
    world.run();
    let key = QuarantineKey::parse(&world.quarantined()[0].key).expect("a key");
    let messages = Quarantine::messages(&world.bench.store, &key, 0, 10).expect("reads");
    let edit = |payload: &Value| Verb::Edit {
        key: key.clone(),
        position: 0,
        payload: payload.to_string().into_bytes(),
        reason: reason(),
    };
    let mut other = messages[0].payload.clone();
    other["happened"]["correlation"] = json!("another");
    for wrong in [json!("no message"), other] {
        let refused = world.do_with_held(edit(&wrong));
        assert!(
            matches!(&refused, Err(Refusal::Conflict { detail }) if detail.starts_with("payload: ")),
            "{refused:?}"
        );
    }
    let mut same = messages[0].payload.clone();
    same["happened"]["event"]["payload"]["parcel"] = json!("q");
    let done = world.do_with_held(edit(&same));
    assert!(matches!(done, Ok(Operated::Key { changed: true, .. })), "{done:?}");
}

#[test]
fn a_draining_runner_lets_nothing_go() {
    let mut world = World::of_odd(super::ODD);
    world.publish(&order_events("acme", "o-1", 1, &["order_shipped"]));
    world.run();
    let verb = Verb::Select { which: Which::default(), after: String::new(), reason: reason() };
    let Ok(Operated::Selection { id, .. }) = world.do_with_held(verb) else { panic!("nothing to select") };
    let operation = Operation::Quarantine(operate::Operation {
        tenant: None,
        verb: Verb::Replay { selection: id, per_second: 1_000, migrate: false },
    });
    let asked = Input::Asked { ticket: 7, operation: Box::new(operation) };
    world.bench.turn([Input::Stopped { deadline_ms: 1_000 }, asked]);
    assert_eq!(world.quarantined()[0].selection, Some(id), "INV-DRN-1");
}
