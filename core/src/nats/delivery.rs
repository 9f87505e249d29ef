//! The way of a message through a [`Server`]: from whom, whether it may, to whom.

use super::connection::Connection;
use super::routes::Receiver;
use super::server::{Answers, Host, Sent, Server};
use super::write::Message;
use super::{ConnectionId, Publish, Violation, subject};
use crate::backoff::mix;

impl Server {
    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish,
        host: &mut dyn Host,
        answers: &mut Answers,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Publish { subject, reply, headers, payload } = publish;
        self.traffic.in_messages += 1;
        self.traffic.in_bytes += (headers.len() + payload.len()) as u64;
        // The real server complains, and delivers all the same.
        if connection.pedantic() && !subject::is_literal(subject) {
            answers.to(id).violation(Violation::InvalidPublishSubject);
        }
        if !connection.may_publish(subject, self.now) {
            return answers.to(id).publish_denied(subject);
        }
        let except = (!connection.echo()).then_some(id);
        let account = connection.account().unwrap_or_default();
        let for_host = account == self.config.host_account;
        let draw = draw(self.config.seed, &mut self.published);
        let receivers = match self.routes.get_mut(account) {
            Some(routes) if subject::is_routable(subject) => routes.route(subject, except, draw),
            _ => Vec::new(),
        };
        self.accepted(id, answers);
        if !subject::is_routable(subject) {
            return self.unheard(id, publish, answers);
        }
        for receiver in &receivers {
            let (sid, reply) = (&receiver.sid[..], reply.as_deref());
            self.deliver(receiver, subject, Message { subject, sid, reply, headers, payload }, answers);
        }
        let wanted = for_host && host.offer(id, publish);
        if !wanted && receivers.is_empty() {
            self.unheard(id, publish, answers);
        }
    }

    /// Sends a message of the host's own to whoever listens. Whether anybody does.
    pub(crate) fn send(&mut self, message: Sent<'_>, answers: &mut Answers) -> bool {
        self.send_to(message.subject, message, answers)
    }

    /// Sends a message to whoever listens on an inbox, which need not be its subject. Whether anybody does.
    pub(crate) fn send_to(&mut self, inbox: &[u8], message: Sent<'_>, answers: &mut Answers) -> bool {
        let Sent { subject, reply, headers, payload } = message;
        let draw = draw(self.config.seed, &mut self.published);
        let Some(routes) = self.routes.get_mut(&self.config.host_account) else { return false };
        let receivers = routes.route(inbox, None, draw);
        for receiver in &receivers {
            let sid = &receiver.sid[..];
            self.deliver(receiver, inbox, Message { subject, sid, reply, headers, payload }, answers);
        }
        !receivers.is_empty()
    }

    fn deliver(&mut self, receiver: &Receiver, inbox: &[u8], message: Message<'_>, answers: &mut Answers) {
        let Some(connection) = self.connections.get_mut(&receiver.connection) else { return };
        if !connection.may_hear(inbox) {
            return;
        }
        if let Some(reply) = message.reply {
            connection.is_asked(reply, self.now);
        }
        self.traffic.out_messages += 1;
        self.traffic.out_bytes += (message.headers.len() + message.payload.len()) as u64;
        answers.to(receiver.connection).message(message, connection.headers());
    }

    fn unheard(&self, id: ConnectionId, publish: &Publish, answers: &mut Answers) {
        if let Some(reply) = &publish.reply {
            self.refuse_request(id, &publish.subject, reply, answers);
        }
    }

    /// Tells a client that nobody listens where it sent a request to, if it wants to know.
    pub(crate) fn refuse_request(
        &self,
        id: ConnectionId,
        subject: &[u8],
        reply: &[u8],
        answers: &mut Answers,
    ) {
        if let Some(connection) = self.connections.get(&id).filter(|own| Connection::no_responders(own))
            && subject::is_routable(reply)
            && let Some(routes) = connection.account().and_then(|account| self.routes.get(account))
            && let Some(listener) = routes.listener(id, reply)
        {
            // Not counted against the subscription's maximum, as on the real server.
            answers.to(id).no_responders(reply, &listener.sid, subject);
        }
    }
}

fn draw(seed: u64, published: &mut u64) -> u64 {
    *published += 1;
    mix(seed ^ mix(*published - 1))
}
