//! The outbox: what leaves it has arrived, or is kept.

use super::rows::{broken, unreadable};
use super::{Known, Seen, Violation};
use cloudlysis_core::outbox::{Body, Destination, Entry, Row};
use cloudlysis_core::quarantine::{ParkedMessage, Quarantine, QuarantineKey};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Halt, Invariant};
use cloudlysis_io_sim::store::Change;
use std::collections::BTreeMap;

/// What is parked of the lane of an entry, by the position it had.
pub(super) fn parked_of(seen: &Seen<'_>, entry: &Entry) -> Result<BTreeMap<u64, ParkedMessage>, Halt> {
    let parked = Quarantine::messages(&seen.rows, &QuarantineKey::lane(&entry.lane()), 0, usize::MAX)?;
    Ok(parked.into_iter().map(|own| (own.stream_seq, own)).collect())
}

/// The position of a row of the outbox.
pub(super) fn position_of(change: &Change) -> u64 {
    keys::parse_outbox(&change.key).map_or(u64::MAX, |(_, position)| position)
}

/// INV-OUT-2, INV-OUT-8 and INV-OUT-9: what leaves the outbox has arrived, or was definitely refused, or is parked; and nothing
/// leaves while something of its lane is.
pub(super) fn check_outbox(seen: &Seen<'_>, change: &Change, known: &Known<'_>) -> Result<(), Violation> {
    let Known { logs, answers, retry_ms_max, .. } = *known;
    let (Some(before), None) = (&change.before, &change.after) else { return Ok(()) };
    let Row { entry, enqueued_at } = Row::decode(before).map_err(|halt| unreadable(&halt))?;
    let parked = parked_of(seen, &entry).map_err(|halt| unreadable(&halt))?;
    if let Some((_, given_up)) = parked.iter().find(|(position, _)| **position == position_of(change)) {
        // What is behind it is not tried at all.
        let tried_ms = given_up.cause.as_ref().map(|_| given_up.parked_at.ms_since(enqueued_at));
        return match tried_ms.filter(|tried_ms| *tried_ms < retry_ms_max) {
            None => Ok(()),
            Some(tried_ms) => {
                let detail = format!("is given up on after {tried_ms} ms of {retry_ms_max}");
                Err(broken(Invariant::Out9, seen, change, &detail))
            }
        };
    }
    if !parked.is_empty() {
        return Err(broken(Invariant::Out8, seen, change, "leaves while something of its lane is parked"));
    }
    let arrived = match &entry.body {
        Body::Command(command) => answers.was_told(command),
        Body::Message { stream, subject, .. } => {
            let stream = match stream {
                Destination::Commands => PlatformStream::WorkflowCommands,
                Destination::Events => PlatformStream::WorkflowEvents,
            };
            // Who put garbage there first had it refused.
            logs.holds(stream, subject) || logs.is_poisoned(subject)
        }
    };
    if arrived {
        return Ok(());
    }
    Err(broken(
        Invariant::Out2,
        seen,
        change,
        &format!("is removed without having arrived: {:?}", entry.body),
    ))
}
