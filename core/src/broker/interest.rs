//! Who still listens: JetStream sends to inboxes and to deliver subjects only while somebody does.

use super::{Broker, Input};
use crate::cx::Cx;
use crate::jetstream;
use crate::nats::{server, subject};

impl Broker {
    /// Tells JetStream about inboxes nobody listens on any more, and about deliver subjects somebody listens on now.
    pub(super) fn follow_interest(&mut self, cx: &mut Cx<'_, Input, server::Effect>) {
        for change in self.server.take_interest_changes() {
            let Some(engine) = &self.engine else { continue };
            let concerns = |subject: &&str| subject::matches(&change.filter, subject.as_bytes());
            if change.gained {
                for subject in engine.deliver_subjects().filter(concerns) {
                    let subject = subject.to_owned();
                    cx.then(Input::Engine(Box::new(jetstream::Input::InterestGained { subject })));
                }
                continue;
            }
            for inbox in engine.inboxes().chain(engine.deliver_subjects()).filter(concerns) {
                if !self.server.has_listener(inbox.as_bytes()) {
                    let inbox = inbox.to_owned();
                    cx.then(Input::Engine(Box::new(jetstream::Input::Abandoned { inbox })));
                }
            }
        }
    }

    /// A stream was restored: somebody may listen already where its consumers deliver.
    pub(super) fn greet_all(&self, cx: &mut Cx<'_, Input, server::Effect>) {
        let subjects = self.engine.iter().flat_map(|engine| engine.deliver_subjects().map(str::to_owned));
        for subject in subjects.collect::<Vec<_>>() {
            self.greet(Some(subject), cx);
        }
    }

    /// A push consumer or a snapshot that just began is served at once, if somebody listens already.
    pub(super) fn greet(&self, subject: Option<String>, cx: &mut Cx<'_, Input, server::Effect>) {
        if let Some(subject) = subject.filter(|subject| self.server.has_listener(subject.as_bytes())) {
            cx.then(Input::Engine(Box::new(jetstream::Input::InterestGained { subject })));
        }
    }
}
