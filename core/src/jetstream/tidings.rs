//! What consumers have to tell whoever listens: noted where it happens, told as advisories when their names are at hand.

use super::advisory::{Answered, Event};
use super::consumer::Tiding;
use super::{AckSubject, Effect, Input, JetStream};
use crate::cx::Cx;

/// Why a delivery is terminated whose message is gone.
const REMOVED: &str = "Unacknowledged message was deleted";

impl JetStream {
    /// Tells what a consumer noted.
    pub(super) fn tell_tidings(&mut self, stream: &str, consumer: &str, cx: &mut Cx<'_, Input, Effect>) {
        let Some((_, _, own)) = self.consumer_mut(stream, consumer) else { return };
        if own.tidings.is_empty() {
            return;
        }
        let group = own.config.priority_groups.first().cloned().unwrap_or_default();
        let pause_until = own.config.pause_until.clone();
        for tiding in std::mem::take(&mut own.tidings) {
            let names = || (stream.to_owned(), consumer.to_owned());
            let event = match tiding {
                Tiding::Exhausted { stream_seq, deliveries } => {
                    let (stream, consumer) = names();
                    Event::MaxDeliveries { stream, consumer, stream_seq, deliveries }
                }
                Tiding::Removed { stream_seq, consumer_seq, deliveries } => {
                    let (stream, consumer) = names();
                    let delivery = Answered { stream, consumer, consumer_seq, stream_seq, deliveries };
                    Event::Terminated { delivery, reason: REMOVED.to_owned() }
                }
                Tiding::PinLost => Event::unpinned(stream, consumer, &group, "timeout"),
                Tiding::Pinned { id } => Event::pinned(stream, consumer, &group, &id),
                Tiding::Paused { is_paused } => {
                    let (stream, consumer) = names();
                    let pause_until = pause_until.clone().unwrap_or_else(|| super::api::ZERO_TIME.to_owned());
                    Event::Paused { stream, consumer, paused: is_paused, pause_until }
                }
            };
            self.advise(event, cx);
        }
    }
}

/// The delivery an answer is about.
pub(super) fn answered(delivery: &AckSubject) -> Answered {
    Answered {
        stream: delivery.stream.to_string(),
        consumer: delivery.consumer.to_string(),
        consumer_seq: delivery.consumer_seq,
        stream_seq: delivery.stream_seq,
        deliveries: delivery.deliveries,
    }
}
