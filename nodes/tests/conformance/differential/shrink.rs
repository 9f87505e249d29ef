//! The smallest script that still shows a difference: leave out, look again, keep what is needed.

use super::operation::Operation;

/// Most replays one difference is worth.
const REPLAYS_MAX: usize = 400;

/// Makes a script smaller as long as `differs` says that it still shows a difference.
pub(super) async fn shrink(
    mut script: Vec<Operation>,
    mut differs: impl AsyncFnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    let mut replays = 0;
    let mut piece = (script.len() / 2).max(1);
    loop {
        let mut at = 0;
        let before = script.len();
        while at < script.len() {
            let mut fewer = script.clone();
            fewer.drain(at..(at + piece).min(script.len()));
            replays += 1;
            if replays > REPLAYS_MAX {
                return script;
            }
            if differs(&fewer).await { script = fewer } else { at += piece }
        }
        match (piece, script.len() < before) {
            (1, false) => break,
            (1, true) => {}
            _ => piece /= 2,
        }
    }
    let mut at = 0;
    while at < script.len() {
        let mut was_simplified = false;
        for simpler in script[at].simpler() {
            let mut candidate = script.clone();
            candidate[at] = simpler;
            replays += 1;
            if replays > REPLAYS_MAX {
                return script;
            }
            if differs(&candidate).await {
                (script, was_simplified) = (candidate, true);
                break;
            }
        }
        if !was_simplified {
            at += 1;
        }
    }
    script
}
