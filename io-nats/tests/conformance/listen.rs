//! The words for listening: what a push consumer sends to its deliver subject.

use crate::script::Script;
use crate::side::{PATIENCE, Seen, Side};
use cloudlysis_core::jetstream::api::ConsumerConfig;
use cloudlysis_core::jetstream::{AckSubject, Answer, ConsumerAction, Request};
use std::time::Duration;

/// Somebody who listens.
pub(crate) struct Listening<B: Side> {
    subscription: B::Pull,
    subject: String,
}

impl<B: Side> Script<B> {
    /// Creates an ephemeral consumer, or changes one. Returns its name.
    pub(crate) async fn ephemeral(
        &mut self,
        stream: &str,
        change: impl FnOnce(&mut ConsumerConfig),
    ) -> Option<String> {
        let mut config = ConsumerConfig::default();
        change(&mut config);
        let what = format!("create ephemeral {:?} of {stream}", config.name);
        let action = ConsumerAction::CreateOrUpdate;
        let request = Request::ConsumerCreate { stream: stream.to_owned(), config: Box::new(config), action };
        let answer = self.ask(what, request).await;
        if let Answer::Consumer(info) = answer { Some(info.name) } else { None }
    }

    /// Describes a consumer whose name is another on each side.
    pub(crate) async fn generated(&mut self, stream: &str, consumer: &str) {
        let (own, consumer) = (stream.to_owned(), consumer.to_owned());
        self.look(
            format!("state of a consumer of {stream}"),
            Request::ConsumerInfo { stream: own, consumer },
        )
        .await;
    }

    pub(crate) async fn listen(&mut self, subject: &str) -> Listening<B> {
        let subscription = self.broker.listen(subject).await;
        Listening { subscription, subject: subject.to_owned() }
    }

    pub(crate) async fn leave(&mut self, listening: Listening<B>) {
        self.broker.leave(listening.subscription).await;
    }

    /// The next so many things that are not heartbeats. Returns the deliveries.
    pub(crate) async fn hear(&mut self, listening: &mut Listening<B>, count: usize) -> Vec<AckSubject> {
        let all = self.hear_all(listening, count).await;
        let deliveries = all.into_iter().filter_map(|seen| match seen {
            Seen::Message { ack, .. } => Some(ack),
            Seen::Status { .. } => None,
        });
        deliveries.collect()
    }

    /// The next so many things that are not heartbeats.
    pub(crate) async fn hear_all(&mut self, listening: &mut Listening<B>, count: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.broker.next(&mut listening.subscription, PATIENCE).await {
                Some(seen) if seen.is_heartbeat() => {}
                Some(seen) => all.push(seen),
                None => break,
            }
        }
        let mut lines: Vec<String> = all.iter().map(Seen::text).collect();
        if all.len() < count {
            lines.push("nothing more".into());
        }
        self.note(format!("{count} on {}", listening.subject), lines.join("\n"));
        all
    }

    /// The next thing, which is a heartbeat.
    pub(crate) async fn beat(&mut self, listening: &mut Listening<B>) {
        let seen = self.broker.next(&mut listening.subscription, PATIENCE).await;
        self.note(
            format!("heartbeat on {}", listening.subject),
            seen.map_or("none".into(), |seen| seen.text()),
        );
    }

    pub(crate) async fn quiet(&mut self, listening: &mut Listening<B>, ms: u64) {
        let seen = self.broker.next(&mut listening.subscription, Duration::from_millis(ms)).await;
        self.note(
            format!("{ms} ms of silence on {}", listening.subject),
            seen.map_or("silence".to_owned(), |seen| seen.text()),
        );
    }

    pub(crate) async fn confirm(&mut self, subject: &str) {
        self.broker.confirm(subject).await;
    }
}
