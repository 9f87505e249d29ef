//! One random script, fed to a real `nats-server` and to ours: the same acks, answers, messages and statuses.
//!
//! ```text
//!  seed ─► script ─► operation ─► ours: everything it says ─┐
//!                        │                                  ├─ equal? ─► next operation
//!                        └──────► real: as much as ours ────┘    └ no: replay, shrink, report
//! ```
//!
//! Ours answers an operation completely before it reads the next; the real server is many threads, so it is given time to
//! say as much, and what only reads is asked again until it has settled. A difference counts if it comes again on a replay.
//!
//! - Limits: nothing in a script depends on time: no wait of an ack, no age, no window ends while it runs.
//! - Never: what is masked in [`mask`] is compared; what is listed in [`deliberate`] is not held against us.

mod configs;
mod deliberate;
mod dice;
mod mask;
mod operation;
mod script;
mod shrink;
mod side;
mod signature;

use operation::Operation;
use side::{Outcome, Side, inbox};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Operations of one script.
const LENGTH: usize = 60;
/// How often, and how long each time, the real server is given time to settle.
const SETTLES: usize = 30;
const SETTLE: Duration = Duration::from_millis(10);

/// Where the two servers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) ours: u16,
    pub(crate) real: u16,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) within: Duration,
    pub(crate) scripts: u64,
    /// After how many differences to stop.
    pub(crate) differences_max: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) scripts: u64,
    pub(crate) operations: usize,
    /// Differences that did not come again.
    pub(crate) fleeting: usize,
    /// Scripts with a difference of a kind that was told before.
    pub(crate) repeated: usize,
    /// Scripts, as small as they could be made, with what was said.
    pub(crate) differences: Vec<String>,
}

/// Where two sides differ first.
#[derive(Debug)]
struct Difference {
    at: usize,
    signature: String,
    ours: Outcome,
    real: Outcome,
}

/// Runs scripts until the plan is done.
pub(crate) async fn run(ports: Ports, plan: Plan) -> Report {
    let mut report = Report::default();
    let (started, mut known) = (Instant::now(), BTreeSet::new());
    for number in 0..plan.scripts {
        if started.elapsed() > plan.within || report.differences.len() >= plan.differences_max {
            break;
        }
        let seed = plan.seed + number;
        let script = script::write(seed, LENGTH);
        let (done, difference) = play(ports, &script).await;
        report.scripts += 1;
        report.operations += done;
        let Some(difference) = difference else { continue };
        if known.contains(&difference.signature) {
            report.repeated += 1;
            continue;
        }
        let signature = difference.signature.clone();
        let is_same = async |script: &[Operation]| {
            play(ports, script).await.1.is_some_and(|difference| difference.signature == signature)
        };
        let until = &script[..=difference.at];
        if !is_same(until).await {
            report.fleeting += 1;
            continue;
        }
        let small = shrink::shrink(until.to_vec(), is_same).await;
        let difference = play(ports, &small).await.1.unwrap_or(difference);
        known.insert(signature);
        report.differences.push(describe(seed, &small, &difference));
    }
    report
}

/// Plays a script on both sides, until they differ.
async fn play(ports: Ports, script: &[Operation]) -> (usize, Option<Difference>) {
    let (mut ours, mut real) = (Side::fresh(ports.ours).await, Side::fresh(ports.real).await);
    for (at, operation) in script.iter().enumerate() {
        let said = ours.perform(at, operation).await;
        let mut answered = real.repeat(at, operation, said.len()).await;
        let expected = ours.outcome(&said);
        let mut seen = real.outcome(&answered);
        for _ in 0..SETTLES {
            if deliberate::equal(&script[..=at], &expected, &seen) {
                break;
            }
            if operation.is_reading() {
                answered.retain(|message| message.subject != inbox(at));
                answered.extend(real.repeat(at, operation, 1).await);
            }
            answered.extend(real.more(SETTLE).await);
            seen = real.outcome(&answered);
        }
        if deliberate::is_haunted(operation, &seen) {
            return (at, None);
        }
        if !deliberate::equal(&script[..=at], &expected, &seen) {
            let signature = signature::signature(operation, &expected, &seen);
            return (at, Some(Difference { at, signature, ours: expected, real: seen }));
        }
        if deliberate::is_over(&script[..=at]) {
            return (at + 1, None);
        }
    }
    (script.len(), None)
}

fn describe(seed: u64, script: &[Operation], difference: &Difference) -> String {
    let mut text = format!("seed {seed}, {}:\n", difference.signature);
    let mut say = |line: &str| writeln!(text, "{line}").expect("writing to a string");
    for (at, operation) in script.iter().enumerate() {
        say(&format!("  {at}. {operation}"));
    }
    let subjects = difference.ours.keys().chain(difference.real.keys());
    let mut subjects: Vec<&String> = subjects.collect();
    subjects.sort_unstable();
    subjects.dedup();
    for subject in subjects {
        let (ours, real) = (difference.ours.get(subject), difference.real.get(subject));
        if ours != real {
            say(&format!("  on {subject}"));
            for (who, lines) in [("ours", ours), ("real", real)] {
                for line in lines.into_iter().flatten() {
                    say(&format!("    {who}: {line}"));
                }
            }
        }
    }
    text
}
