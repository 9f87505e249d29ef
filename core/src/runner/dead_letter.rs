//! Dead letters: what the outbox gave up on is parked with its lane, and let go again with all of it.
//!
//! ```text
//! outbox ─ given up ─► GivenUp ─► parked under its lane, in order ─ an operator ─┬─ replays ──► outbox, the whole lane
//!                                                                                └─ drops it: what is behind goes on
//! ```
//!
//! No saga is told: what was given up on may have happened, so it is no refusal. An instance goes on waiting for its work;
//! whoever drops that, or sees that it will never be, cancels or kills the instance. A schedule, that nobody can cancel, is
//! told that what it asked for was dropped, and goes on.
//!
//! Limit: when the quarantine is full, what is given up on waits in the outbox.

use super::{Effect, Input, OccurrenceEnded, Runner};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::marks::Mark;
use crate::outbox::{Entry, Origin};
use crate::quarantine::release::Turn;
use crate::quarantine::{Cause, Parked, Quarantine, QuarantineKey, Subject};
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::Now;
use crate::wire::headers::Headers;

/// Where a message came from that the outbox gave up on.
const OUTBOX: &str = "outbox";
/// Entries parked in one turn.
pub(super) const PARKED_AT_ONCE_MAX: u32 = 64;

impl Runner {
    /// Whether something is to be parked that the outbox gave up on.
    pub(super) fn parks(&self) -> bool {
        self.outbox.any_given_up() && self.quarantine.has_room()
    }

    pub(super) fn on_given_up(
        &mut self,
        now: Now,
        left: u32,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        if !self.parks() {
            return Ok(());
        }
        let given_up = cx.child(Input::Outbox, Effect::Outbox, |cx| self.outbox.give_up(cx))?;
        let Some(own) = given_up.filter(|_| !self.config.quirks.has(Quirk::OutboxGivesUpForGood)) else {
            return Ok(());
        };
        let payload = serde_json::to_vec(&own.entry).expect("an entry serialises");
        let parked = Parked {
            stream: OUTBOX,
            stream_seq: own.position,
            subject: &own.entry.goes_to(),
            headers: &Headers::default(),
            payload: &payload,
            definition: None,
        };
        let cause = own.why.map(|detail| Cause { kind: "given_up".into(), detail });
        self.quarantine.park(now, &QuarantineKey::lane(&own.lane), &parked, cause, cx)?;
        if left > 1 {
            cx.then(Input::GivenUp { left: left - 1 });
        }
        Ok(())
    }

    /// A lane has its turn.
    pub(super) fn let_go(
        &mut self,
        now: Now,
        turn: &Turn,
        lane: &str,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let messages = self.quarantine.let_go(now, turn, cx)?;
        let read =
            |payload: &[u8]| serde_json::from_slice(payload).map_err(|error| corrupt(&turn.key, &error));
        let entries = messages.iter().map(|own| Ok((own.stream_seq, read(&own.payload)?)));
        let entries = entries.collect::<Result<Vec<_>, Halt>>()?;
        cx.mark(Mark::OutboxLetGo);
        cx.child(Input::Outbox, Effect::Outbox, |cx| self.outbox.let_go(now, lane, &entries, cx));
        Ok(())
    }

    /// The first message of a key is dropped: of what a schedule asked for nobody will ever tell how it ended.
    pub(super) fn drop_first(&self, key: &QuarantineKey, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        if !matches!(key.subject(), Some(Subject::Lane { .. })) {
            return Ok(());
        }
        for message in Quarantine::messages(cx.view(), key, 0, 1)? {
            let entry: Entry =
                serde_json::from_value(message.payload).map_err(|error| corrupt(key, &error))?;
            if let Origin::Occurrence { tenant, id, .. } = entry.origin {
                let error = Some("an operator dropped it".to_owned());
                cx.then(Input::OccurrenceEnded(Box::new(OccurrenceEnded { tenant, id, error })));
            }
        }
        Ok(())
    }

    /// The last message of a key was dropped.
    pub(super) fn freed(&mut self, key: &QuarantineKey) {
        if let Some(Subject::Lane { lane, .. }) = key.subject() {
            self.outbox.freed(&lane);
        }
    }

    /// INV-OUT-8: outbox and quarantine agree on the lanes that are held back.
    pub(super) fn check_lanes(&self, view: &dyn View) -> Result<(), Halt> {
        let parked = Quarantine::lanes(view)?;
        let agree = self.outbox.kept_lanes().eq(parked.iter().map(String::as_str));
        invariant!(agree, Out8, "lanes {parked:?} are parked, the outbox knows of others");
        Ok(())
    }
}

fn corrupt(key: &QuarantineKey, error: &serde_json::Error) -> Halt {
    Halt::Corrupt { table: Table::Parked, detail: format!("{}: {error}", key.display()) }
}
