//! The outbox: what leaves it has arrived, or is kept.

use super::answers::Answers;
use super::logs::Logs;
use super::rows::{broken, unreadable};
use super::{Seen, Violation};
use cloudlysis_core::outbox::{Body, Destination, Entry, Row};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Halt, Invariant};
use cloudlysis_io_sim::store::Change;
use std::collections::BTreeSet;

/// Positions of what is parked of the lane of an entry.
pub(super) fn parked_of(seen: &Seen<'_>, entry: &Entry) -> Result<BTreeSet<u64>, Halt> {
    let parked = Quarantine::messages(&seen.rows, &QuarantineKey::lane(&entry.lane()), 0, usize::MAX)?;
    Ok(parked.iter().map(|own| own.stream_seq).collect())
}

/// The position of a row of the outbox.
pub(super) fn position_of(change: &Change) -> u64 {
    keys::parse_outbox(&change.key).map_or(u64::MAX, |(_, position)| position)
}

/// INV-OUT-2 and INV-OUT-8: what leaves the outbox has arrived, or was definitely refused, or is parked; and nothing
/// leaves while something of its lane is.
pub(super) fn check_outbox(
    seen: &Seen<'_>,
    change: &Change,
    logs: &Logs,
    answers: &Answers,
) -> Result<(), Violation> {
    let (Some(before), None) = (&change.before, &change.after) else { return Ok(()) };
    let Row { entry, .. } = Row::decode(before).map_err(|halt| unreadable(&halt))?;
    let parked = parked_of(seen, &entry).map_err(|halt| unreadable(&halt))?;
    if parked.contains(&position_of(change)) {
        return Ok(());
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
            logs.holds(stream, subject)
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
