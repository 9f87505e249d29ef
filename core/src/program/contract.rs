//! What the output of a program means, contract by contract.
//!
//! Programs put out JSON sections; here they become typed decisions, or a [`ProgramError::Output`] that says what does
//! not fit. Sizes are checked here too, so that no program can produce what no message can carry.

use super::dag::{Contract, Section};
use super::{Gas, Inputs, Program, ProgramError};
use crate::time::{Wall, ns_of_rfc3339};
use crate::wire::envelope::{Event, PAYLOAD_BYTES_MAX};
use crate::wire::id::{EntityId, Name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most events of one command.
pub const EVENTS_MAX: usize = 16;
/// Most work items of one reaction.
pub const WORK_MAX: usize = 16;
/// Most timers one reaction sets.
pub const TIMERS_MAX: usize = 16;
/// The longest a timer may wait: ten years, in milliseconds.
pub const TIMER_MS_MAX: u64 = 10 * 366 * 24 * 3_600_000;
/// Largest state or row, as JSON, in bytes.
pub const STATE_BYTES_MAX: usize = 256 << 10;

/// `decide {state, command} → {events | refusal}`.
pub const DECIDE: Contract = Contract {
    inputs: &["state", "command"],
    sections: &[Section::Template("events"), Section::Template("refusal")],
};

/// `evolve {state, event} → {state}`; `set` replaces single fields.
pub const EVOLVE: Contract = Contract {
    inputs: &["state", "event"],
    sections: &[Section::Template("state"), Section::Template("set")],
};

/// `project {view, event} → {view | delete}`; `set` replaces single fields.
pub const PROJECT: Contract = Contract {
    inputs: &["view", "event"],
    sections: &[Section::Template("view"), Section::Template("set"), Section::Expression("delete")],
};

/// `on_event {state, event} → {state, work, timers, cancel, complete | compensate}`; `set` replaces single fields.
pub const ON_EVENT: Contract = Contract {
    inputs: &["state", "event"],
    sections: &[
        Section::Template("state"),
        Section::Template("set"),
        Section::Template("work"),
        Section::Template("timers"),
        Section::Template("cancel"),
        Section::Expression("complete"),
        Section::Expression("compensate"),
    ],
};

/// `compensation {state, event} → {work}` for one work item.
pub const COMPENSATION: Contract =
    Contract { inputs: &["state", "event"], sections: &[Section::Template("work")] };

/// What an aggregate decides.
#[derive(Clone, PartialEq, Debug)]
pub enum Decision {
    /// These happened; at least one.
    Events(Vec<Event>),
    /// No.
    Refused(Refusal),
}

/// A domain's no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// For machines, stable.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What becomes of a view's row.
#[derive(Clone, PartialEq, Debug)]
pub enum Projected {
    /// It is this now.
    Row(Value),
    /// It is removed.
    Deleted,
    /// It stays as it is.
    Unchanged,
}

/// A saga's answer to an event.
#[derive(Clone, PartialEq, Debug)]
pub struct Reaction {
    /// Its state from now on.
    pub state: Value,
    /// What it wants done.
    pub work: Vec<WorkItem>,
    /// What it wants to be reminded of.
    pub timers: Vec<TimerItem>,
    /// The timers it no longer waits for.
    pub cancel: Vec<Name>,
    /// Whether it goes on.
    pub then: Then,
}

/// A timer a saga sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimerItem {
    /// Its name in the manifest.
    pub name: Name,
    /// When it falls due.
    pub due: TimerDue,
}

/// When a timer falls due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerDue {
    /// This many milliseconds after the reaction.
    AfterMs(u64),
    /// At this time.
    At(Wall),
}

/// Whether a saga goes on after a reaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It waits for the next event.
    Continue,
    /// It is finished.
    Complete,
    /// It undoes what it did, last first.
    Compensate,
}

/// Something a saga wants done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkItem {
    /// Its name in the manifest.
    pub name: Name,
    /// What exactly.
    #[serde(flatten)]
    pub target: Target,
}

/// Who does it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// An aggregate, by a command.
    Command(CommandTarget),
    /// The outside, by an effect.
    Effect {
        /// The effect.
        name: Name,
        /// With what.
        #[serde(default)]
        payload: Value,
    },
}

/// A command for an aggregate.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTarget {
    /// The aggregate type.
    pub aggregate: Name,
    /// The aggregate id.
    pub id: EntityId,
    /// The command.
    pub name: Name,
    /// With what.
    #[serde(default)]
    pub payload: Value,
}

fn output(detail: impl Into<String>) -> ProgramError {
    ProgramError::Output { detail: detail.into() }
}

fn bounded(value: Value, what: &str, bytes_max: usize) -> Result<Value, ProgramError> {
    let bytes = serde_json::to_vec(&value).map_or(usize::MAX, |json| json.len());
    if bytes > bytes_max {
        return Err(output(format!("{what} is {bytes} bytes long; at most {bytes_max} are allowed")));
    }
    Ok(value)
}

/// Applies `state` (replace) and `set` (merge fields) to the current value; `None` when neither is there.
fn next_value(
    sections: &mut Map<String, Value>,
    replace: &str,
    current: &Value,
) -> Result<Option<Value>, ProgramError> {
    let base = sections.remove(replace);
    let Some(set) = sections.remove("set") else {
        return base.map(|value| bounded(value, replace, STATE_BYTES_MAX)).transpose();
    };
    let Value::Object(set) = set else { return Err(output("`set` must be an object")) };
    let mut next = match base.unwrap_or_else(|| current.clone()) {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(output("`set` needs an object to set fields of"));
        }
    };
    next.extend(set);
    bounded(Value::Object(next), replace, STATE_BYTES_MAX).map(Some)
}

fn sections(
    program: &dyn Program,
    inputs: &Inputs<'_>,
    gas: &mut Gas,
) -> Result<Map<String, Value>, ProgramError> {
    let Value::Object(sections) = program.run(inputs, gas)? else {
        return Err(output("a program puts out an object of sections"));
    };
    Ok(sections)
}

fn flag(sections: &mut Map<String, Value>, name: &str) -> Result<bool, ProgramError> {
    match sections.remove(name) {
        None | Some(Value::Bool(false) | Value::Null) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(other) => Err(output(format!("`{name}` must be true or false, not {other}"))),
    }
}

/// Runs `decide`.
///
/// # Errors
/// [`ProgramError`] when the program fails or its output does not fit the contract.
pub fn decide(
    program: &dyn Program,
    state: &Value,
    command: &Value,
    gas: &mut Gas,
) -> Result<Decision, ProgramError> {
    #[derive(Deserialize)]
    struct Emitted {
        #[serde(rename = "type")]
        kind: Name,
        #[serde(default)]
        payload: Value,
    }
    let mut sections = sections(program, &[("state", state), ("command", command)], gas)?;
    match (sections.remove("events"), sections.remove("refusal")) {
        (Some(events), None) => {
            let emitted: Vec<Emitted> =
                serde_json::from_value(events).map_err(|error| output(format!("`events`: {error}")))?;
            if emitted.is_empty() || emitted.len() > EVENTS_MAX {
                return Err(output(format!("{} events; from 1 to {EVENTS_MAX} are allowed", emitted.len())));
            }
            let events = emitted.into_iter().map(|emitted| {
                let payload = bounded(emitted.payload, "an event's payload", PAYLOAD_BYTES_MAX)?;
                Ok(Event { kind: emitted.kind, payload })
            });
            Ok(Decision::Events(events.collect::<Result<_, ProgramError>>()?))
        }
        (None, Some(refusal)) => {
            let refusal: Refusal =
                serde_json::from_value(refusal).map_err(|error| output(format!("`refusal`: {error}")))?;
            Ok(Decision::Refused(refusal))
        }
        (None, None) => Ok(Decision::Refused(Refusal {
            code: "not_applicable".into(),
            message: "no case of this command applies to the present state".into(),
        })),
        (Some(_), Some(_)) => Err(output("both `events` and `refusal`: a command has one answer")),
    }
}

/// Runs `evolve`.
///
/// # Errors
/// [`ProgramError`] when the program fails or its output does not fit the contract.
pub fn evolve(
    program: &dyn Program,
    state: &Value,
    event: &Value,
    gas: &mut Gas,
) -> Result<Value, ProgramError> {
    let mut sections = sections(program, &[("state", state), ("event", event)], gas)?;
    Ok(next_value(&mut sections, "state", state)?.unwrap_or_else(|| state.clone()))
}

/// Runs `project`.
///
/// # Errors
/// [`ProgramError`] when the program fails or its output does not fit the contract.
pub fn project(
    program: &dyn Program,
    view: &Value,
    event: &Value,
    gas: &mut Gas,
) -> Result<Projected, ProgramError> {
    let mut sections = sections(program, &[("view", view), ("event", event)], gas)?;
    let deleted = flag(&mut sections, "delete")?;
    let next = next_value(&mut sections, "view", view)?;
    match (deleted, next) {
        (true, None) => Ok(Projected::Deleted),
        (true, Some(_)) => Err(output("both a row and `delete`")),
        (false, Some(row)) => Ok(Projected::Row(row)),
        (false, None) => Ok(Projected::Unchanged),
    }
}

fn work_items(sections: &mut Map<String, Value>) -> Result<Vec<WorkItem>, ProgramError> {
    let Some(work) = sections.remove("work") else { return Ok(Vec::new()) };
    let work: Vec<WorkItem> =
        serde_json::from_value(work).map_err(|error| output(format!("`work`: {error}")))?;
    if work.len() > WORK_MAX {
        return Err(output(format!("{} work items; at most {WORK_MAX} are allowed", work.len())));
    }
    work.into_iter()
        .map(|item| {
            let (Target::Command(CommandTarget { payload, .. }) | Target::Effect { payload, .. }) =
                &item.target;
            bounded(payload.clone(), "a work item's payload", PAYLOAD_BYTES_MAX)?;
            Ok(item)
        })
        .collect()
}

/// Milliseconds of a duration as manifests write it: `500ms`, `90s`, `15m`, `2h 30m`.
///
/// # Errors
/// What is wrong with it.
pub fn after_ms(text: &str) -> Result<u64, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is not a duration: use h, m, s, ms; a day is 24h"))?;
    u64::try_from(duration.as_millis())
        .ok()
        .filter(|ms| *ms <= TIMER_MS_MAX)
        .ok_or_else(|| format!("{text:?} is negative, or longer than ten years"))
}

fn timer_items(sections: &mut Map<String, Value>) -> Result<Vec<TimerItem>, ProgramError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        name: Name,
        #[serde(default)]
        after: Option<String>,
        #[serde(default)]
        at: Option<String>,
    }
    let Some(timers) = sections.remove("timers") else { return Ok(Vec::new()) };
    let timers: Vec<Wanted> =
        serde_json::from_value(timers).map_err(|error| output(format!("`timers`: {error}")))?;
    if timers.len() > TIMERS_MAX {
        return Err(output(format!("{} timers; at most {TIMERS_MAX} are allowed", timers.len())));
    }
    let due = |wanted: &Wanted| match (&wanted.after, &wanted.at) {
        (Some(after), None) => after_ms(after).map(TimerDue::AfterMs).map_err(output),
        (None, Some(at)) => ns_of_rfc3339(at)
            .map(|ns| TimerDue::At(Wall::from_ms(ns.div_ceil(1_000_000))))
            .ok_or_else(|| output(format!("`timers`: {at:?} is not an RFC 3339 time"))),
        (None, None) | (Some(_), Some(_)) => Err(output("`timers`: either `after` or `at`")),
    };
    timers.into_iter().map(|wanted| Ok(TimerItem { due: due(&wanted)?, name: wanted.name })).collect()
}

fn cancelled(sections: &mut Map<String, Value>) -> Result<Vec<Name>, ProgramError> {
    let Some(names) = sections.remove("cancel") else { return Ok(Vec::new()) };
    serde_json::from_value(names).map_err(|error| output(format!("`cancel`: {error}")))
}

/// Runs `on_event`.
///
/// # Errors
/// [`ProgramError`] when the program fails or its output does not fit the contract.
pub fn react(
    program: &dyn Program,
    state: &Value,
    event: &Value,
    gas: &mut Gas,
) -> Result<Reaction, ProgramError> {
    let mut sections = sections(program, &[("state", state), ("event", event)], gas)?;
    let then = match (flag(&mut sections, "complete")?, flag(&mut sections, "compensate")?) {
        (false, false) => Then::Continue,
        (true, false) => Then::Complete,
        (false, true) => Then::Compensate,
        (true, true) => return Err(output("both `complete` and `compensate`")),
    };
    let next = next_value(&mut sections, "state", state)?.unwrap_or_else(|| state.clone());
    let work = work_items(&mut sections)?;
    let timers = timer_items(&mut sections)?;
    let cancel = cancelled(&mut sections)?;
    Ok(Reaction { state: next, work, timers, cancel, then })
}

/// Runs the compensation of one work item.
///
/// # Errors
/// [`ProgramError`] when the program fails or its output does not fit the contract.
pub fn compensate(
    program: &dyn Program,
    state: &Value,
    event: &Value,
    gas: &mut Gas,
) -> Result<Vec<WorkItem>, ProgramError> {
    let mut sections = sections(program, &[("state", state), ("event", event)], gas)?;
    work_items(&mut sections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A native program: the trait is all that contracts know.
    #[derive(Debug)]
    struct Says(Value);
    impl Program for Says {
        fn run(&self, _inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
            gas.charge(1)?;
            Ok(self.0.clone())
        }
    }

    fn gas() -> Gas {
        Gas::new(100)
    }

    #[test]
    fn decisions_are_events_or_a_refusal() {
        let decide = |says: Value| decide(&Says(says), &json!({}), &json!({}), &mut gas());
        let decided = decide(json!({ "events": [{ "type": "placed", "payload": 1 }] })).expect("events");
        assert!(matches!(&decided, Decision::Events(events) if events[0].kind.as_str() == "placed"));
        let refused = decide(json!({ "refusal": { "code": "no", "message": "never" } })).expect("refused");
        assert!(matches!(&refused, Decision::Refused(refusal) if refusal.code == "no"));
        assert!(
            matches!(decide(json!({})).expect("refused"), Decision::Refused(r) if r.code == "not_applicable")
        );
        for wrong in [
            json!({ "events": [] }),
            json!({ "events": [{ "type": "not a name" }] }),
            json!({ "events": {}, "refusal": {} }),
            json!({ "refusal": "no" }),
            json!([]),
            json!({ "events": [{ "type": "big", "payload": "x".repeat(PAYLOAD_BYTES_MAX) }] }),
        ] {
            assert!(matches!(decide(wrong), Err(ProgramError::Output { .. })));
        }
    }

    #[test]
    fn set_merges_and_state_replaces() {
        let evolve = |says: Value| evolve(&Says(says), &json!({ "a": 1, "b": 2 }), &json!({}), &mut gas());
        assert_eq!(evolve(json!({ "set": { "b": 3, "c": 4 } })), Ok(json!({ "a": 1, "b": 3, "c": 4 })));
        assert_eq!(evolve(json!({ "state": { "x": 1 } })), Ok(json!({ "x": 1 })));
        assert_eq!(evolve(json!({ "state": { "x": 1 }, "set": { "y": 2 } })), Ok(json!({ "x": 1, "y": 2 })));
        assert_eq!(evolve(json!({})), Ok(json!({ "a": 1, "b": 2 })));
        assert!(evolve(json!({ "set": 1 })).is_err());
    }

    #[test]
    fn rows_are_written_removed_or_left() {
        let project = |says: Value| project(&Says(says), &Value::Null, &json!({}), &mut gas());
        assert_eq!(project(json!({ "set": { "a": 1 } })), Ok(Projected::Row(json!({ "a": 1 }))));
        assert_eq!(project(json!({ "delete": true })), Ok(Projected::Deleted));
        assert_eq!(project(json!({})), Ok(Projected::Unchanged));
        assert!(project(json!({ "delete": "yes" })).is_err());
        assert!(project(json!({ "delete": true, "view": {} })).is_err());
    }

    #[test]
    fn reactions_carry_work_and_say_whether_they_go_on() {
        let react = |says: Value| react(&Says(says), &json!({}), &json!({}), &mut gas());
        let work = json!([
            { "name": "reserve", "command": { "aggregate": "stock", "id": "tea", "name": "reserve", "payload": {} } },
            { "name": "charge", "effect": { "name": "charge_card", "payload": { "cents": 5 } } },
        ]);
        let reaction = react(json!({ "work": work, "compensate": true })).expect("a reaction");
        assert_eq!(reaction.then, Then::Compensate);
        assert!(matches!(&reaction.work[0].target, Target::Command(c) if c.aggregate.as_str() == "stock"));
        assert!(
            matches!(&reaction.work[1].target, Target::Effect { name, .. } if name.as_str() == "charge_card")
        );
        assert!(react(json!({ "complete": true, "compensate": true })).is_err());
        let timers = json!([{ "name": "late", "after": "2h 30m" }, { "name": "pay", "at": "1970-01-01T00:00:01.0001Z" }]);
        let reaction = react(json!({ "timers": timers, "cancel": ["other"] })).expect("a reaction");
        let due: Vec<TimerDue> = reaction.timers.iter().map(|timer| timer.due).collect();
        assert_eq!(due, [TimerDue::AfterMs(9_000_000), TimerDue::At(Wall::from_ms(1_001))], "never early");
        assert_eq!(reaction.cancel[0].as_str(), "other");
        for wrong in [
            json!({ "timers": [{ "name": "late" }] }),
            json!({ "timers": [{ "name": "late", "after": "1s", "at": "1970-01-01T00:00:01Z" }] }),
            json!({ "timers": [{ "name": "late", "after": "-1s" }] }),
            json!({ "timers": [{ "name": "late", "after": "100000h" }] }),
            json!({ "timers": [{ "name": "late", "after": "soon" }] }),
            json!({ "timers": [{ "name": "late", "at": "tomorrow" }] }),
            json!({ "timers": vec![json!({ "name": "late", "after": "1s" }); TIMERS_MAX + 1] }),
            json!({ "cancel": [7] }),
        ] {
            assert!(matches!(react(wrong), Err(ProgramError::Output { .. })));
        }
        assert!(react(json!({ "work": [{ "name": "x" }] })).is_err());
    }
}
