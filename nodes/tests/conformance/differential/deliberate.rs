//! Where we answer differently on purpose, and where the original does not agree with itself.
//!
//! - A purge of some subjects, or a roll-up of one, below a consumer that wants others, too: the original goes on counting
//!   what is gone as unsettled, or moves the floor over what is not settled. We settle what is gone. From then on, what
//!   such a script says of floors and of what is unsettled is not compared.
//! - A stream that is created right after one of its name was deleted: now and then the original finds what the deleted
//!   one held. Such a script shows nothing.
//! - The advisory of a deleted stream: the original's leaves through a queue that ends with the stream, and now and then
//!   does not leave. Only one that comes is compared.
//! - A consumer that begins behind the end of the stream: the original counts what is stored before its beginning as still
//!   to come, until it counts again. What such a script says of it with a delivery, or to a pull that does not wait, is not
//!   compared.
//! - A consumer whose filters are changed: it delivers at once what it wants by now; the original, when it is next asked.
//!   Only the answer is compared, and such a script ends.
//! - A stream that begins to keep only what is needed: to the original, what consumers have that it had before and that
//!   need no acks is still needed. Such a script ends.
//! - A rate limit where messages have a size limit: the original takes that for what may be sent at once, counted with the
//!   subjects, and is silent for ever if a message is larger. Scripts have no rate limits.
//! - An empty list is none to us. The original finds a consumer with one different from one without, until it is restarted.
//!   Scripts have none.
//! - Streams that republish into each other in a circle are refused here; the original goes round for ever. Scripts have
//!   no republishing.

use super::operation::Operation;
use super::side::{Outcome, inbox};
use serde_json::Value;

/// Whether what follows these operations shows nothing.
pub(super) fn is_over(script: &[Operation]) -> bool {
    let Some((last, _)) = script.split_last() else { return false };
    let begins_interest = last.is_call("STREAM.UPDATE") && last.says("\"retention\":\"interest\"");
    begins_interest || changes_filters(script)
}

/// Whether the last of these operations gives a consumer other filters.
fn changes_filters(script: &[Operation]) -> bool {
    let Some((last, before)) = script.split_last() else { return false };
    let known = before.iter().rev().find(|own| own.consumer().is_some() && own.consumer() == last.consumer());
    known.is_some_and(|known| known.filters() != last.filters())
}

/// What differs after a purge of some subjects.
const UNSETTLED: [&str; 2] = ["ack_floor", "num_ack_pending"];

const DELETED: &str = "$JS.EVENT.ADVISORY.STREAM.DELETED.";

/// Whether two outcomes of the last of these operations are the same, as far as they are meant to be.
pub(super) fn equal(script: &[Operation], ours: &Outcome, real: &Outcome) -> bool {
    let blur = Blur {
        unsettled: script.iter().any(Operation::purges_some),
        to_come: script.iter().any(|own| own.says("\"opt_start_seq\":")),
    };
    if changes_filters(script) {
        let answer = inbox(script.len() - 1);
        return ours.get(&answer) == real.get(&answer);
    }
    if script.last().is_some_and(|last| last.is_call("STREAM.DELETE")) {
        let told = |outcome: &Outcome| outcome.keys().find(|subject| subject.starts_with(DELETED)).cloned();
        if let (Some(subject), None) = (told(ours), told(real)) {
            let mut ours = ours.clone();
            ours.remove(&subject);
            return blur.of(&ours) == blur.of(real);
        }
    }
    ours == real || blur.of(ours) == blur.of(real)
}

/// What is not compared.
struct Blur {
    /// What a consumer has not settled.
    unsettled: bool,
    /// What a delivery, or the refusal of a pull, says there still is.
    to_come: bool,
}

impl Blur {
    fn of(&self, outcome: &Outcome) -> Outcome {
        let lines = |said: &Vec<String>| said.iter().map(|line| self.line(line)).collect();
        outcome.iter().map(|(subject, said)| (subject.clone(), lines(said))).collect()
    }

    fn line(&self, line: &str) -> String {
        if let (true, Some((ack, rest))) = (self.to_come, line.split_once(' '))
            && ack.starts_with("$JS.ACK.")
            && let Some((ack, _)) = ack.rsplit_once('.')
        {
            return format!("{ack} {rest}");
        }
        if self.to_come && line.contains("NATS/1.0 408 Requests Pending") {
            return line.replace("408 Requests Pending", "404 No Messages");
        }
        let at = line.find(" {").map_or(line.len(), |at| at + 1);
        let (head, payload) = line.split_at(at);
        match serde_json::from_str(payload) {
            Ok(mut payload) if self.unsettled => {
                without_unsettled(&mut payload);
                format!("{head}{payload}")
            }
            Ok(_) | Err(_) => line.to_owned(),
        }
    }
}

fn without_unsettled(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !UNSETTLED.contains(&&**name));
            fields.values_mut().for_each(without_unsettled);
        }
        Value::Array(items) => items.iter_mut().for_each(without_unsettled),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether the original created a stream that is not empty.
pub(super) fn is_haunted(operation: &Operation, real: &Outcome) -> bool {
    let holds = |line: &String| line.contains("\"did_create\":true") && !line.contains("\"messages\":0");
    operation.is_call("STREAM.CREATE") && real.values().flatten().any(holds)
}
