//! Commands between processes: they and their answers are lost, late, or meet a process that is not there.

use super::event::{Caller, Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use cloudlysis_core::aggregate::{Aggregate, Input, Reply, RequestId};
use cloudlysis_core::outbox::{self, CommandAccepted, CommandRefused};
use cloudlysis_core::program::contract::Refusal;
use cloudlysis_core::runner::{Input as RunnerInput, Runner};
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::{Outcome, Token};

/// A message between two processes takes this long, at least and at most.
const RPC_NS: (u64, u64) = (50_000, 5 * MS);

impl World {
    fn rpc_delay(&mut self) -> u64 {
        self.dice.network.within(RPC_NS.0, RPC_NS.1)
    }

    /// Whoever waits for a command's answer gives up after this long, in milliseconds: longer than an aggregate's own
    /// attempts take in most cases, and shorter than an outbox waits.
    pub(super) const fn submit_timeout_ms(&self) -> u64 {
        self.plan.aggregate.answer_timeout_ms * 3
    }

    /// Sends a command to one of the aggregate nodes.
    pub(super) fn submit(&mut self, caller: Caller, command: Box<Command>) {
        // The runner keeps to one owner: that a refusal is known to one owner only is a documented limit
        // (docs/decisions/0003).
        let owners = match caller {
            Caller::Client { .. } => u64::from(self.plan.owners),
            Caller::Runner { .. } => 1,
        };
        let target = NodeId::Aggregate(u8::try_from(self.dice.network.below(owners)).unwrap_or_default());
        self.after(self.submit_timeout_ms() * MS, Event::SubmitTimedOut(caller));
        self.oracles.on_submitted(&command);
        if self.strikes(self.faults.rpc_lost) {
            self.note(|| format!("lost on the way to {target}"));
            return;
        }
        let delay = self.rpc_delay();
        self.after(delay, Event::Submitted { caller, target, command });
    }

    pub(super) fn on_submitted(&mut self, caller: Caller, target: NodeId, command: Box<Command>) {
        if !self.is_up(target) {
            let delay = self.rpc_delay();
            self.after(delay, Event::Replied { caller, reply: None });
            return;
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.requests.insert((target, request), (caller, command.clone()));
        self.push::<Aggregate>(target, Input::Commanded { request, command: *command });
    }

    /// An aggregate node answers.
    pub(super) fn reply(&mut self, node: NodeId, request: RequestId, reply: Reply) -> Result<(), Violation> {
        // Nobody waits when the machine was recovered in between.
        let Some((caller, command)) = self.requests.remove(&(node, request)) else { return Ok(()) };
        self.oracles.on_answered(&command, &reply)?;
        if self.strikes(self.faults.rpc_lost) {
            self.note(|| "the answer is lost".to_owned());
            return Ok(());
        }
        let mut delay = self.rpc_delay();
        if self.strikes(self.faults.answer_late) {
            delay += self.submit_timeout_ms() * MS;
        }
        self.after(delay, Event::Replied { caller, reply: Some(Box::new(reply)) });
        Ok(())
    }

    /// Connections to an aggregate node break: callers learn that the outcome is unknown.
    pub(super) fn break_requests(&mut self, id: NodeId) {
        let broken: Vec<_> = self.requests.keys().filter(|(node, _)| *node == id).copied().collect();
        for key in broken {
            let Some((caller, _)) = self.requests.remove(&key) else { continue };
            let delay = self.rpc_delay();
            self.after(delay, Event::Replied { caller, reply: None });
        }
    }

    pub(super) fn on_replied(&mut self, caller: Caller, reply: Option<Reply>) -> Result<(), Violation> {
        match caller {
            Caller::Client { call, attempt } => self.on_client_answered(call, attempt, reply),
            // Also long after it was given up: telling that apart is the machine's task, not the adapter's.
            Caller::Runner { life, token } => {
                self.submits.remove(&token);
                self.on_runner_answered(life, token, reply.map_or(Outcome::Unknown, outcome));
                Ok(())
            }
        }
    }

    pub(super) fn on_submit_timed_out(&mut self, caller: Caller) {
        match caller {
            Caller::Client { call, attempt } => self.on_client_timed_out(call, attempt),
            Caller::Runner { life, token } => {
                if self.submits.remove(&token) {
                    self.on_runner_answered(life, token, Outcome::Unknown);
                }
            }
        }
    }

    fn on_runner_answered(
        &mut self,
        life: u64,
        token: Token,
        outcome: Outcome<CommandAccepted, CommandRefused>,
    ) {
        if self.nodes.runner.deaths == life {
            let input = RunnerInput::Outbox(outbox::Input::CommandAnswered { token, outcome });
            self.push::<Runner>(NodeId::Runner, input);
        }
    }
}

/// The twin of `nodes::runner`'s table.
fn outcome(reply: Reply) -> Outcome<CommandAccepted, CommandRefused> {
    match reply {
        Reply::Accepted { seq, version, .. } => Outcome::Done(CommandAccepted { seq, version }),
        Reply::Refused(refusal) | Reply::Invalid(refusal) => {
            Outcome::Refused(CommandRefused::Refusal(refusal))
        }
        Reply::Unreadable { detail } => Outcome::Refused(CommandRefused::Refusal(Refusal {
            code: "aggregate_unreadable".into(),
            message: detail,
        })),
        Reply::Busy { .. } => Outcome::Refused(CommandRefused::Busy),
        Reply::Unknown => Outcome::Unknown,
    }
}
