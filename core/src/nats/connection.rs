//! What a server keeps of one connection: how far it has read, what the client said and may do, when to look after it.

use super::auth::{Auth, Grant};
use super::permissions::{Permissions, Questions};
use super::{Connect, Limits, Parser};
use crate::time::{Mono, Now};
use std::sync::Arc;

/// What a connection begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Arrival {
    /// Where the client comes from.
    pub(super) address: String,
    /// What it may sign.
    pub(super) nonce: Option<String>,
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Connection {
    pub(super) parser: Parser,
    pub(super) arrival: Arrival,
    /// Everything it has said about itself so far; `None` before its first `CONNECT`.
    said: Option<Connect>,
    /// What it may do; `None` as long as it must say who it is.
    grant: Option<Arc<Grant>>,
    /// What it may still answer.
    questions: Questions,
    /// Whether it knows as whom it was admitted: from then on, it may be told more at any time.
    pub(super) acquainted: bool,
    /// When it was last heard.
    pub(super) heard: Mono,
    /// Pings without an answer.
    pub(super) pings_out: u32,
    /// When to look after it.
    pub(super) due: Mono,
}

impl Connection {
    pub(super) fn new(now: Now, limits: &Limits, auth: &Auth, arrival: Arrival) -> Self {
        let grant = auth.stranger();
        let wait_ms = if grant.is_none() { limits.auth_timeout_ms } else { limits.ping_interval_ms };
        Self {
            parser: Parser::new(limits, grant.is_none()),
            arrival,
            said: None,
            grant,
            questions: Questions::default(),
            acquainted: false,
            heard: now.mono,
            pings_out: 0,
            due: now.mono.plus_ms(wait_ms),
        }
    }

    /// Adds what a `CONNECT` names to what was said before. Whether the client may come.
    pub(super) fn hear(&mut self, connect: Connect, auth: &Auth) -> bool {
        let said = self.said.take().unwrap_or_default();
        self.said = Some(connect.over(said));
        self.judge(auth)
    }

    /// Whether the client may come, or stay, now that this is asked.
    pub(super) fn judge(&mut self, auth: &Auth) -> bool {
        let nonce = self.arrival.nonce.as_deref();
        self.grant = self.said.as_ref().map_or_else(|| auth.stranger(), |said| auth.admit(said, nonce));
        self.grant.is_some()
    }

    pub(super) const fn said(&self) -> Option<&Connect> {
        self.said.as_ref()
    }

    pub(super) const fn is_admitted(&self) -> bool {
        self.grant.is_some()
    }

    pub(super) fn account(&self) -> Option<&str> {
        self.grant.as_deref().map(|grant| grant.account.as_str())
    }

    fn permissions(&self) -> Option<&Permissions> {
        self.grant.as_deref().and_then(|grant| grant.permissions.as_ref())
    }

    /// Whether it may publish there now. An answer counts.
    pub(super) fn may_publish(&mut self, subject: &[u8], now: Mono) -> bool {
        self.permissions().is_none_or(|own| own.may_publish(subject)) || self.questions.answer(subject, now)
    }

    pub(super) fn may_subscribe(&self, filter: &[u8], queue: Option<&[u8]>) -> bool {
        self.permissions().is_none_or(|own| own.may_subscribe(filter, queue))
    }

    pub(super) fn may_hear(&self, subject: &[u8]) -> bool {
        self.permissions().is_none_or(|own| own.may_hear(subject))
    }

    /// It is sent a message that asks for an answer.
    pub(super) fn is_asked(&mut self, reply: &[u8], now: Mono) {
        if let Some(answering) = self.permissions().and_then(|own| own.answering) {
            self.questions.note(reply, now, answering);
        }
    }

    /// Whether it must be told as whom it was admitted: once, if it said that it understands that.
    pub(super) fn acquaint(&mut self) -> bool {
        let understands = self.said.as_ref().is_some_and(|said| said.protocol.is_some_and(|own| own >= 1));
        understands && !std::mem::replace(&mut self.acquainted, true)
    }

    // What holds before a client says otherwise is what the real server assumes.

    pub(super) fn verbose(&self) -> bool {
        self.said.as_ref().and_then(|said| said.verbose).unwrap_or(true)
    }

    pub(super) fn pedantic(&self) -> bool {
        self.said.as_ref().and_then(|said| said.pedantic).unwrap_or(true)
    }

    pub(super) fn echo(&self) -> bool {
        self.said.as_ref().and_then(|said| said.echo).unwrap_or(true)
    }

    pub(super) fn headers(&self) -> bool {
        self.said.as_ref().and_then(|said| said.headers).unwrap_or(false)
    }

    pub(super) fn no_responders(&self) -> bool {
        self.said.as_ref().and_then(|said| said.no_responders).unwrap_or(false)
    }
}
