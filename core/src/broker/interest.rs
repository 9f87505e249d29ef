//! Who still listens: JetStream sends to inboxes and to deliver subjects only while somebody does.
//!
//! A consumer that delivers to a queue group is heard by its members alone, one that delivers to none by those who are in
//! none.

use super::{Broker, Input};
use crate::cx::Cx;
use crate::jetstream;
use crate::nats::{server, subject};

impl Broker {
    /// Tells JetStream about inboxes nobody listens on any more, and about deliver subjects somebody listens on now.
    pub(super) fn follow_interest(&mut self, cx: &mut Cx<'_, Input, server::Effect>) {
        for change in self.server.take_interest_changes() {
            let Some(engine) = &self.engine else { continue };
            let concerns = |subject: &str| subject::matches(&change.filter, subject.as_bytes());
            let is_of_group = |group: Option<&str>| group.map(str::as_bytes) == change.queue.as_deref();
            let delivered =
                engine.deliver_subjects().filter(|(own, group)| concerns(own) && is_of_group(*group));
            for (subject, group) in delivered {
                let is_heard = self.server.has_member(subject.as_bytes(), change.queue.as_deref());
                let (subject, group) = (subject.to_owned(), group.map(str::to_owned));
                let input = match (change.gained, is_heard) {
                    (true, _) => jetstream::Input::InterestGained { subject, group },
                    (false, false) => jetstream::Input::InterestLost { subject, group },
                    (false, true) => continue,
                };
                cx.then(Input::Engine(Box::new(input)));
            }
            let inboxes = engine.inboxes().filter(|inbox| !change.gained && concerns(inbox));
            for inbox in inboxes.filter(|inbox| !self.server.has_listener(inbox.as_bytes())) {
                let inbox = inbox.to_owned();
                cx.then(Input::Engine(Box::new(jetstream::Input::Abandoned { inbox })));
            }
        }
    }

    /// A stream was restored: somebody may listen already where its consumers deliver.
    pub(super) fn greet_all(&self, cx: &mut Cx<'_, Input, server::Effect>) {
        let owned = |(subject, group): (&str, Option<&str>)| (subject.to_owned(), group.map(str::to_owned));
        let subjects = self.engine.iter().flat_map(|engine| engine.deliver_subjects().map(owned));
        for delivered in subjects.collect::<Vec<_>>() {
            self.greet(Some(delivered), cx);
        }
    }

    /// A push consumer or a snapshot that just began is served at once, if somebody listens already.
    pub(super) fn greet(
        &self,
        delivered: Option<(String, Option<String>)>,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) {
        let is_heard = |(subject, group): &(String, Option<String>)| {
            self.server.has_member(subject.as_bytes(), group.as_deref().map(str::as_bytes))
        };
        if let Some((subject, group)) = delivered.filter(is_heard) {
            cx.then(Input::Engine(Box::new(jetstream::Input::InterestGained { subject, group })));
        }
    }
}
