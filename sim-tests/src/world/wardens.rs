//! Operators of the quarantine: people who select what the runner holds back, have it redriven or dropped, or skip what
//! cannot be read, whatever else happens.
//!
//! ```text
//! rows that are committed ─► a verb ─► the runner's machine ─► the answer, held against the selection
//! ```
//!
//! Of either half, when the runner is two processes. One request at a time. Who hears no answer asks for something else: nobody knows what became of the request. When
//! faults have ended they let go what the outbox gave up on, and ask for nothing more; what is under way ends by itself.
//! What the outbox gave up on is never dropped: whoever waits for it would wait for ever.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use crate::plan::RETRY_MS_LONG;
use cloudlysis_core::operator::{Reason, Refusal};
use cloudlysis_core::quarantine::operate::{Operated, Operation as Redrive, Verb};
use cloudlysis_core::quarantine::selection::{Doing, SelectionId};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey, QuarantinedKey, Subject, Which};
use cloudlysis_core::runner::operate::{Done, Operation};
use cloudlysis_core::runner::{Input, Runner};
use cloudlysis_core::{Halt, Invariant};

/// Between two requests, at least and at most.
const PAUSE_NS: (u64, u64) = (200 * MS, 3_000 * MS);
/// How long an answer is waited for.
const PATIENCE_NS: u64 = 5_000 * MS;
/// An event to put in the place of garbage.
const NOTED: &[u8] = br#"{"event_type":"order_noted","version":0,"payload":{}}"#;
/// Messages redriven in a second.
const PER_SECOND: [u32; 3] = [2, 50, 1_000];

/// All operators of the quarantine.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Wardens {
    /// Which request waits for an answer, of whom, and since when.
    waiting: Option<(u64, NodeId, u64)>,
}

/// What they see.
struct HeldBack {
    keys: Vec<QuarantinedKey>,
    waiting: Vec<SelectionId>,
    under_way: Vec<SelectionId>,
}

fn is_lane(own: &QuarantinedKey) -> bool {
    matches!(QuarantineKey::parse(&own.key).and_then(|key| key.subject()), Some(Subject::Lane { .. }))
}

impl HeldBack {
    fn free(&self) -> impl Iterator<Item = &QuarantinedKey> {
        self.keys.iter().filter(|own| own.selection.is_none())
    }

    /// What is next when there are no faults any more.
    fn last_request(&self) -> Option<Verb> {
        self.keys.iter().find(|own| is_lane(own))?;
        if let Some(selection) = self.waiting.first().copied() {
            return Some(Verb::Replay { selection, per_second: 1_000, migrate: false });
        }
        let key = self.free().find(|own| is_lane(own)).and_then(|own| QuarantineKey::parse(&own.key))?;
        let which = Which { key: Some(key), ..Which::default() };
        Some(Verb::Select { which, after: String::new(), reason: reason() })
    }
}

impl World {
    pub(super) fn begin_wardens(&mut self) {
        if self.plan.operators || self.plan.outbox.retry_ms_max < RETRY_MS_LONG {
            self.ward_later();
        }
    }

    fn ward_later(&mut self) {
        let delay = self.dice.wardens.within(PAUSE_NS.0, PAUSE_NS.1);
        self.after(delay, Event::Warded);
    }

    fn held_back(&self, id: NodeId) -> Result<HeldBack, Halt> {
        let rows = self.nodes.runner_of(id).store.committed();
        let keys = Quarantine::list(&rows, &Which::default(), "", 100)?.items;
        let selections = Quarantine::selections(&rows)?;
        let with = |under_way: bool| {
            let open = selections.iter().filter(|(_, own)| !own.has_ended());
            open.filter(|(_, own)| own.is_under_way() == under_way).map(|(id, _)| *id).collect()
        };
        Ok(HeldBack { keys, waiting: with(false), under_way: with(true) })
    }

    fn draw_redrive(&mut self, id: NodeId, held: &HeldBack) -> Option<Verb> {
        let dice = &mut self.dice.wardens;
        if !held.under_way.is_empty() && dice.below(4) == 0 {
            return Some(Verb::Unselect { selection: *dice.pick(&held.under_way) });
        }
        if !held.waiting.is_empty() {
            let selection = *dice.pick(&held.waiting);
            return Some(match dice.below(8) {
                0 => Verb::Unselect { selection },
                1 | 2 if !held.keys.iter().any(is_lane) => Verb::Discard { selection },
                _ => Verb::Replay {
                    selection,
                    per_second: *dice.pick(&PER_SECOND),
                    migrate: dice.below(2) == 0,
                },
            });
        }
        let free: Vec<&QuarantinedKey> = held.free().collect();
        if free.is_empty() {
            return None;
        }
        let own = *dice.pick(&free);
        let key = QuarantineKey::parse(&own.key)?;
        let what = dice.below(6);
        if what < 3 && !is_lane(own) {
            let rows = self.nodes.runner_of(id).store.committed();
            let first = Quarantine::messages(&rows, &key, 0, 1).ok()?.first()?.position;
            // What nobody could read becomes an event that nobody waits for.
            let edits = what < 2 && own.key.contains(".aggregate.order.");
            return Some(match edits {
                true => Verb::Edit { key, position: first, payload: NOTED.to_vec(), reason: reason() },
                false => Verb::Skip { key, position: first, reason: reason() },
            });
        }
        let key = (dice.below(2) == 0).then_some(key);
        let which = Which { key, ..Which::default() };
        Some(Verb::Select { which, after: String::new(), reason: reason() })
    }

    pub(super) fn on_warded(&mut self) -> Result<(), Violation> {
        let patient = self.wardens.waiting.is_some_and(|(_, _, since)| self.now_ns < since + PATIENCE_NS);
        let halves = self.nodes.effects.is_some() && self.dice.wardens.one_in(4);
        let id = if halves { NodeId::Effects } else { NodeId::Runner };
        if !patient && self.is_up(id) {
            let held = self.held_back(id).map_err(|halt| Violation::of_halt(id, &halt))?;
            let verb = match self.healed_at {
                None => self.draw_redrive(id, &held),
                Some(_) => held.last_request(),
            };
            if let Some(verb) = verb {
                let ticket = self.operators.draw_ticket();
                self.wardens.waiting = Some((ticket, id, self.now_ns));
                let operation = Operation::Quarantine(Redrive { tenant: None, verb });
                self.push::<Runner>(id, Input::Asked { ticket, operation: Box::new(operation) });
            }
        }
        self.ward_later();
        Ok(())
    }

    /// INV-QRN-4: what an operator is told of a selection is committed, or has gone on since.
    pub(super) fn on_warden_answered(
        &mut self,
        ticket: u64,
        operation: &Redrive,
        answer: &Result<Done, Refusal>,
    ) -> Result<(), Violation> {
        let Some((_, id, _)) = self.wardens.waiting.take_if(|(own, _, _)| *own == ticket) else {
            return Ok(());
        };
        let Ok(Done::Quarantine(Operated::Selection { id: named, selection, .. })) = answer else {
            return Ok(());
        };
        let rows = self.nodes.runner_of(id).store.committed();
        let stands = Quarantine::selections(&rows).map_err(|halt| Violation::of_halt(id, &halt))?;
        let stands = stands.get(named);
        let agrees = stands.is_some_and(|own| {
            let goes_on = own.doing == selection.doing || matches!(own.doing, Doing::Ended { .. });
            own.keys == selection.keys && own.left <= selection.left && goes_on
        });
        if agrees {
            return Ok(());
        }
        let detail = format!("{operation:?} is answered {named} {selection:?}, the row says {stands:?}");
        Err(Violation::new(Invariant::Qrn4, detail))
    }
}

fn reason() -> Reason {
    Reason::parse("somebody mended it").expect("a reason")
}
