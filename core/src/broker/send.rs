//! What JetStream has to say, on its way to whoever listens.

use super::call::Api;
use super::{Asked, Broker, Captured, Input, NOTHING, encode};
use crate::cx::Cx;
use crate::jetstream::api::ApiError;
use crate::jetstream::{self, Answer, DirectStatus, PullStatus};
use crate::nats::server::Sent;
use crate::nats::{ConnectionId, Publish, server};
use crate::wire::headers::Headers;
use bytes::Bytes;

impl Broker {
    pub(super) fn send_effect(
        &mut self,
        effect: jetstream::Effect,
        asked: Option<&Asked<'_>>,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) {
        match effect {
            jetstream::Effect::Reply { to, answer } => self.send_answer(&to, answer, asked, cx),
            jetstream::Effect::Deliver(delivery) => {
                let (ack, inbox) = (delivery.ack.to_string(), delivery.inbox.as_bytes());
                let sent = Sent {
                    subject: delivery.subject.as_bytes(),
                    reply: Some(ack.as_bytes()),
                    headers: delivery.headers.as_bytes(),
                    payload: &delivery.payload,
                };
                if !self.server.send_to(inbox, sent, &mut self.answers) && !self.captures(&delivery.inbox) {
                    let inbox = delivery.inbox;
                    cx.then(Input::Engine(Box::new(jetstream::Input::Abandoned { inbox })));
                } else {
                    self.capture(&delivery.inbox, Some(&ack), sent.headers, sent.payload, cx);
                }
            }
            jetstream::Effect::Chunk { to, reply, payload } => {
                self.publish(&to, reply.as_deref(), &NOTHING, &payload, cx);
            }
            jetstream::Effect::SnapshotEnded { to, end } => {
                let headers = end.status().map(|(code, why)| encode::status(code, why, &Headers::default()));
                self.publish(&to, None, headers.as_ref().unwrap_or(&NOTHING), &NOTHING, cx);
            }
            jetstream::Effect::Status { inbox, status } => self.send_status(&inbox, &status, asked),
            jetstream::Effect::Republish { subject, headers, payload } => {
                self.publish(&subject, None, headers.as_bytes(), &payload, cx);
            }
            jetstream::Effect::Advise { subject, body } => {
                let payload = encode::json(&body);
                self.publish(&subject, None, &NOTHING, &payload, cx);
            }
        }
    }

    /// Publishes a message of the broker's own: to whoever listens, and into the stream that captures it.
    fn publish(
        &mut self,
        subject: &str,
        reply: Option<&str>,
        headers: &Bytes,
        payload: &Bytes,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) {
        let reply_bytes = reply.map(str::as_bytes);
        let sent = Sent { subject: subject.as_bytes(), reply: reply_bytes, headers, payload };
        self.server.send(sent, &mut self.answers);
        self.capture(subject, reply, headers, payload, cx);
    }

    fn captures(&self, subject: &str) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.captures(subject))
    }

    fn capture(
        &self,
        subject: &str,
        reply: Option<&str>,
        headers: &Bytes,
        payload: &Bytes,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) {
        if self.captures(subject) {
            let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
            let publish = Publish {
                subject: bytes(subject),
                reply: reply.map(bytes),
                headers: headers.clone(),
                payload: payload.clone(),
            };
            cx.then(Input::Captured(Captured { from: None, publish }));
        }
    }

    fn send_answer(
        &mut self,
        to: &str,
        answer: Answer,
        asked: Option<&Asked<'_>>,
        cx: &mut Cx<'_, Input, server::Effect>,
    ) {
        if let Answer::NoResponders { .. } = answer {
            if let Some(asked) = asked {
                self.unheard(asked.from, asked.publish);
            }
            return;
        }
        if let Answer::Restored(_) = answer {
            self.greet_all(cx);
        }
        let api = asked.and_then(|asked| asked.api).unwrap_or(Api::Bare);
        for (headers, payload) in encode::answer(&self.name, api, answer) {
            self.publish(to, None, &headers, &payload, cx);
        }
    }

    fn send_status(&mut self, inbox: &str, status: &PullStatus, asked: Option<&Asked<'_>>) {
        if *status == PullStatus::NoResponders {
            if let Some(asked) = asked {
                self.unheard(asked.from, asked.publish);
            }
            return;
        }
        let headers = encode::status(status.code(), &status.description(), &status.headers());
        let reply = status.reply().map(str::as_bytes);
        let sent = Sent { subject: inbox.as_bytes(), reply, headers: &headers, payload: &NOTHING };
        self.server.send(sent, &mut self.answers);
    }

    /// Answers a direct get that cannot be read, where direct gets are allowed.
    pub(super) fn refuse_direct_get(&mut self, from: Option<ConnectionId>, publish: &Publish, stream: &str) {
        let info = self.engine.as_ref().and_then(|engine| engine.stream(stream));
        if info.is_none_or(|info| !info.config.allow_direct) {
            return self.unheard(from, publish);
        }
        let Some(reply) = &publish.reply else { return };
        let (headers, payload) = encode::direct_status(DirectStatus::MalformedRequest);
        let sent = Sent { subject: reply, reply: None, headers: &headers, payload: &payload };
        self.server.send(sent, &mut self.answers);
    }

    /// Tells who asked why the call cannot be one.
    pub(super) fn refuse(&mut self, asked: &Asked<'_>, api: Api, error: ApiError) {
        let Some(reply) = &asked.publish.reply else { return };
        for (headers, payload) in encode::answer(&self.name, api, Answer::Failed(error)) {
            let sent = Sent { subject: reply, reply: None, headers: &headers, payload: &payload };
            self.server.send(sent, &mut self.answers);
        }
    }
}
