//! Messages in the hands of a machine, and the spans of these: from when they are handed over until they are settled.
//!
//! A message is known by where it is acknowledged, which is another place at every delivery. The acknowledgement is
//! released after the commit, so a span lasts until what the message caused is durable. Nothing is kept while nobody
//! listens to spans.
//!
//! Bounded: at most [`UNSETTLED_MAX`]. A delivery that is never settled (its consumer was positioned anew, the node
//! drains) ends with the ones of its generation, without an outcome.

use super::traces;
use cloudlysis_core::gate::{Delivery, Effect};
use cloudlysis_core::wire::id::Name;
use cloudlysis_core::wire::stream::PlatformStream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::Span;

/// More than a gate has open at once.
const UNSETTLED_MAX: usize = 16_384;

/// The spans of one consumer's messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsettled(Arc<Mutex<HashMap<String, Span>>>);

impl Unsettled {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is handed to its machine; a view has a name.
    pub(crate) fn delivered(
        &self,
        node: &'static str,
        view: Option<&Name>,
        stream: PlatformStream,
        delivery: &Delivery,
    ) {
        let span = traces::process(node, stream, delivery);
        if span.is_disabled() {
            return;
        }
        if let Some(view) = view {
            span.record("view", view.as_str());
        }
        let mut spans = self.locked();
        if spans.len() >= UNSETTLED_MAX {
            spans.clear();
        }
        spans.insert(delivery.ack.clone(), span);
    }

    /// What the machine wants done; that may settle a message.
    pub(crate) fn asked(&self, effect: &Effect) {
        if !traces::listened_to() {
            return;
        }
        match effect {
            Effect::Ack { ack } => self.settled(ack, "acked"),
            Effect::Term { ack, .. } => self.settled(ack, "terminated"),
            Effect::Position { .. } => self.locked().clear(),
            Effect::Inspect { .. } | Effect::Fetch { .. } => {}
        }
    }

    fn settled(&self, ack: &str, outcome: &'static str) {
        let span = self.locked().remove(ack);
        if let Some(span) = span {
            span.record("outcome", outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::traces::tests::{Seen, delivery, listening};
    use super::*;

    const STREAM: PlatformStream = PlatformStream::AggregateEvents;

    fn ack(delivery: &Delivery) -> Effect {
        Effect::Ack { ack: delivery.ack.clone() }
    }

    #[test]
    fn a_span_lasts_until_its_message_is_settled() {
        let seen = Seen::default();
        listening(&seen, || {
            let unsettled = Unsettled::default();
            let [first, second] = [1, 2].map(delivery);
            unsettled.delivered("projection", Name::parse("orders").ok().as_ref(), STREAM, &first);
            unsettled.delivered("projection", None, STREAM, &second);
            assert_eq!(seen.closed(), 0);
            unsettled.asked(&ack(&first));
            assert_eq!(seen.closed(), 1);
            unsettled.asked(&Effect::Term { ack: second.ack.clone(), reason: "a secret reason".into() });
            assert_eq!((seen.closed(), unsettled.locked().len()), (2, 0));
        });
        let spans = seen.spans();
        let told = |nth: usize, field: &str| spans[nth].get(field).cloned();
        assert_eq!(told(0, "outcome").as_deref(), Some("acked"));
        assert_eq!(told(0, "view").as_deref(), Some("orders"));
        assert_eq!(told(1, "outcome").as_deref(), Some("terminated"));
        assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
    }

    #[test]
    fn what_is_never_settled_ends_with_its_generation_and_is_bounded() {
        let seen = Seen::default();
        listening(&seen, || {
            let unsettled = Unsettled::default();
            for seq in 0..=UNSETTLED_MAX as u64 {
                unsettled.delivered("runner", None, STREAM, &delivery(seq));
            }
            assert_eq!((seen.closed(), unsettled.locked().len()), (UNSETTLED_MAX, 1));
        });
    }

    #[test]
    fn nothing_is_kept_while_nobody_listens() {
        let unsettled = Unsettled::default();
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), || {
            unsettled.delivered("runner", None, STREAM, &delivery(1));
        });
        assert_eq!(unsettled.locked().len(), 0);
    }
}
