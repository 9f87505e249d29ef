//! Calls to the outside, and the ways in which they can fail before, while and after something was done.

use super::event::{CallFate, Event};
use super::{MS, World};
use cloudlysis_core::effect::{self, Answered, NotSent};
use cloudlysis_core::manifest::EffectRequest;
use cloudlysis_core::runner::{Input, Runner};
use cloudlysis_core::{Outcome, Token};
use serde_json::json;

/// A request or its answer takes this long, at least and at most.
const CALL_NS: (u64, u64) = (MS, 300 * MS);

impl World {
    fn call_delay(&mut self) -> u64 {
        self.dice.network.within(CALL_NS.0, CALL_NS.1)
    }

    /// Makes a call.
    pub(super) fn call(&mut self, call: effect::Effect) {
        let effect::Effect::Execute { token, idempotency_key: key, request, timeout_ms, .. } = call;
        let life = self.nodes.of_effects().deaths;
        let delay = self.call_delay();
        let mut fate = CallFate::Answered;
        if self.strikes(self.faults.call_fails) {
            match self.dice.faults.below(5) {
                0 => {
                    let outcome =
                        Outcome::Refused(NotSent { detail: "connection refused".into(), forbidden: false });
                    self.after(delay, Event::CallReturned { life, token, outcome });
                    return;
                }
                1 => {
                    let outcome = Outcome::Unknown;
                    self.after(timeout_ms * MS, Event::CallReturned { life, token, outcome });
                    return;
                }
                2 => fate = CallFate::Unavailable,
                3 => fate = CallFate::FailsAfterwards,
                _ => fate = CallFate::AnswerLost,
            }
        } else if self.strikes(self.faults.answer_late) {
            fate = CallFate::Late;
        }
        let request = Box::new(request);
        self.after(delay, Event::CallArrived { life, token, key, request, fate, timeout_ms });
    }

    pub(super) fn on_call_arrived(
        &mut self,
        life: u64,
        token: Token,
        key: &str,
        request: &EffectRequest,
        fate: CallFate,
        timeout_ms: u64,
    ) {
        let failed = |status| Outcome::Done(Answered { status, body: json!({ "error": "simulated" }) });
        let back = self.call_delay();
        let mut returns =
            |after_ns, outcome| self.after(after_ns, Event::CallReturned { life, token, outcome });
        if fate == CallFate::Unavailable {
            returns(back, failed(503));
            return;
        }
        let answer = Outcome::Done(self.outside.call(self.now_ns, request, key));
        let mut returns =
            |after_ns, outcome| self.after(after_ns, Event::CallReturned { life, token, outcome });
        match fate {
            CallFate::Answered | CallFate::Unavailable => returns(back, answer),
            CallFate::FailsAfterwards => returns(back, failed(500)),
            CallFate::AnswerLost => returns(timeout_ms * MS, Outcome::Unknown),
            CallFate::Late => {
                returns(timeout_ms * MS, Outcome::Unknown);
                let late_ms = self.dice.faults.within(1, 8_000);
                self.after((timeout_ms + late_ms) * MS, Event::CallReturned { life, token, outcome: answer });
            }
        }
    }

    pub(super) fn on_call_returned(&mut self, life: u64, token: Token, outcome: Outcome<Answered, NotSent>) {
        let caller = self.nodes.of_effects();
        if caller.deaths == life {
            let id = caller.id;
            self.oracles.on_returned(token);
            let input = Input::Effect(effect::Input::Returned { token, outcome });
            self.push::<Runner>(id, input);
        }
    }
}
