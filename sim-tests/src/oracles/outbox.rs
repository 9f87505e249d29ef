//! The outbox: what leaves it has arrived, or is kept.

use super::answers::Answers;
use super::logs::Logs;
use super::rows::{broken, unreadable};
use super::{Seen, Violation};
use cloudlysis_core::Invariant;
use cloudlysis_core::outbox::{Body, Destination, Row};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_io_sim::store::Change;

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
    let lane = QuarantineKey::lane(&entry.lane());
    let parked = Quarantine::messages(&seen.rows, &lane, 0, usize::MAX).map_err(|halt| unreadable(&halt))?;
    let position = keys::parse_outbox(&change.key).map(|(_, position)| position);
    if parked.iter().any(|own| Some(own.stream_seq) == position) {
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
