//! More words: listening to push consumers and to advisories; pausing, resetting, unpinning; acks that are pulls.

use crate::script::{Script, Waiting};
use crate::side::{PATIENCE, Seen, Side, advisory_text, moment};
use cloudlysis_core::Wall;
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, PullRequest};
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
        let request = Request::ConsumerCreate {
            stream: stream.to_owned(),
            config: Box::new(config),
            action,
            pedantic: false,
        };
        let answer = self.ask(what, request).await;
        if let Answer::Consumer(info) = answer { Some(info.name) } else { None }
    }

    /// Creates a durable that is refused what would be put right.
    pub(crate) async fn pedantic_consumer(
        &mut self,
        stream: &str,
        name: &str,
        change: impl FnOnce(&mut ConsumerConfig),
    ) {
        let mut config = ConsumerConfig {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ..ConsumerConfig::default()
        };
        change(&mut config);
        let request = Request::ConsumerCreate {
            stream: stream.to_owned(),
            config: Box::new(config),
            action: ConsumerAction::CreateOrUpdate,
            pedantic: true,
        };
        self.ask(format!("pedantically create {stream}/{name}"), request).await;
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

    /// The sequences of the next so many messages.
    pub(crate) async fn hear_numbers(&mut self, listening: &mut Listening<B>, count: usize) {
        let mut seqs = Vec::new();
        while seqs.len() < count
            && let Some(seen) = self.broker.next(&mut listening.subscription, PATIENCE).await
        {
            if let Seen::Message { ack, .. } = seen {
                seqs.push(ack.stream_seq);
            }
        }
        self.note(format!("{count} sequences on {}", listening.subject), format!("{seqs:?}"));
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

    /// The next so many advisories about consumers, in any order, and that there are no more of them.
    pub(crate) async fn advisories(&mut self, count: usize) {
        let mut told = Vec::new();
        let more = Duration::from_millis(100);
        while let Some((subject, body)) =
            self.broker.advisory(if told.len() < count { PATIENCE } else { more }).await
        {
            told.push(advisory_text(&subject, body));
        }
        told.sort_unstable();
        self.note(format!("{count} advisories"), told.join("\n"));
    }

    /// Pauses a consumer for so long, or until a moment.
    pub(crate) async fn pause(&mut self, stream: &str, consumer: &str, pause_until: Option<&str>) {
        let what = format!("pause {stream}/{consumer} until {:?}", pause_until.map(moment));
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        let pause_until = pause_until.map(str::to_owned);
        self.ask(what, Request::ConsumerPause { stream, consumer, pause_until }).await;
    }

    /// The moment in so many milliseconds.
    pub(crate) fn moment_in(&self, ms: u64) -> String {
        Wall::from_ms(self.broker.wall().as_ms() + ms).rfc3339()
    }

    pub(crate) async fn reset(&mut self, stream: &str, consumer: &str, seq: Option<u64>) {
        let what = format!("reset {stream}/{consumer} to {seq:?}");
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.ask(what, Request::ConsumerReset { stream, consumer, seq }).await;
    }

    pub(crate) async fn unpin(&mut self, stream: &str, consumer: &str, group: &str) {
        let what = format!("unpin {group} of {stream}/{consumer}");
        let (stream, consumer, group) = (stream.to_owned(), consumer.to_owned(), group.to_owned());
        self.ask(what, Request::ConsumerUnpin { stream, consumer, group }).await;
    }

    /// Answers a delivery with an ack that is a pull, too.
    pub(crate) async fn ack_next(
        &mut self,
        delivery: &AckSubject,
        payload: &str,
        request: PullRequest,
    ) -> Waiting<B> {
        let AckSubject { stream, consumer, stream_seq, .. } = delivery;
        let what = format!("{payload:?} for {stream}/{consumer} {stream_seq}");
        let pull = self.broker.ack_and_pull(delivery, payload).await;
        Waiting::new(pull, request, what)
    }

    pub(crate) async fn confirm(&mut self, subject: &str) {
        self.broker.confirm(subject).await;
    }
}
