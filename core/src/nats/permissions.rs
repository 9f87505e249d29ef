//! What a user may publish and hear.
//!
//! ```text
//!  publish ──► denied? ── no ──► allowed, or nothing is listed? ── no ──► an answer to what it was just asked?
//! ```
//!
//! - A list without entries says nothing: an empty `allow` allows everything.
//! - An entry for subscriptions may name a queue group (with wildcards of its own). Where entries with a group mean a
//!   subject, they alone say which groups may share it.
//! - What is denied is not delivered through wider subscriptions either. The real server looks only at wildcards that
//!   cover a whole denied entry; ours looks at every message, so nothing slips through `*.b` that `a.*` denies.
//! - Answers: limited in number and time per reply subject. Limits: [`ANSWERS_MAX`] reply subjects per connection, the
//!   oldest goes first.

use super::subject::{is_filter, is_routable, matches};
use crate::time::Mono;
use bytes::Bytes;
use std::collections::BTreeMap;
use thiserror::Error;

/// Most reply subjects a connection may still answer on.
pub const ANSWERS_MAX: usize = 4096;

/// An entry that is neither a subject nor a subject and a queue group.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("subject {0:?} is not a valid subject")]
pub struct NotASubject(pub String);

/// Subjects, and subjects with a queue group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subjects {
    plain: Vec<Bytes>,
    groups: Vec<(Bytes, Bytes)>,
}

impl Subjects {
    /// Reads entries; only with `groups` may they name one.
    ///
    /// # Errors
    /// [`NotASubject`] names the entry that is none.
    pub fn new<'e>(entries: impl IntoIterator<Item = &'e str>, groups: bool) -> Result<Self, NotASubject> {
        let mut out = Self::default();
        for entry in entries {
            let mut words =
                entry.split_ascii_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes()));
            match [words.next(), words.next(), words.next()] {
                [Some(subject), None, None] if is_filter(&subject) => out.plain.push(subject),
                [Some(subject), Some(group), None] if groups && is_filter(&subject) && is_filter(&group) => {
                    out.groups.push((subject, group));
                }
                _ => return Err(NotASubject(entry.to_owned())),
            }
        }
        Ok(out)
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }

    fn name(&self, subject: &[u8]) -> bool {
        is_routable(subject) && self.plain.iter().any(|filter| matches(filter, subject))
    }

    /// Whether a group is named for a subject; `None` if no group is.
    fn name_group(&self, subject: &[u8], group: &[u8]) -> Option<bool> {
        let mut there = self.groups.iter().filter(|(filter, _)| matches(filter, subject)).peekable();
        there.peek()?;
        Some(there.any(|(_, own)| matches(own, group)))
    }
}

/// What is allowed, but for what is denied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lists {
    /// Everything, if empty.
    pub allow: Subjects,
    /// Nothing, if empty.
    pub deny: Subjects,
}

impl Lists {
    fn says_nothing(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    fn admit(&self, subject: &[u8]) -> bool {
        (self.allow.is_empty() || self.allow.name(subject)) && !self.deny.name(subject)
    }
}

/// Which answers a user may give, whatever else it may publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answering {
    /// How many to each question; any number if absent.
    pub count_max: Option<u32>,
    /// For how long, in milliseconds; for ever if absent.
    pub ttl_ms: Option<u64>,
}

impl Answering {
    /// One answer within two minutes.
    pub const DEFAULT: Self = Self { count_max: Some(1), ttl_ms: Some(120_000) };
}

/// What a user may do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Permissions {
    /// Where it may publish.
    pub publish: Lists,
    /// What it may hear.
    pub subscribe: Lists,
    /// Whether it may answer what it was asked.
    pub answering: Option<Answering>,
}

impl Permissions {
    /// Whether it may publish there, answers aside.
    #[must_use]
    pub fn may_publish(&self, subject: &[u8]) -> bool {
        // Who may only answer may do nothing else.
        let only_answers = self.answering.is_some() && self.publish.says_nothing();
        !only_answers && self.publish.admit(subject)
    }

    /// Whether it may subscribe to a filter.
    #[must_use]
    pub fn may_subscribe(&self, filter: &[u8], queue: Option<&[u8]>) -> bool {
        let Lists { allow, deny } = &self.subscribe;
        let named = |list: &Subjects| queue.and_then(|queue| list.name_group(filter, queue));
        let allowed = allow.is_empty() || named(allow).unwrap_or_else(|| allow.name(filter));
        allowed && !deny.name(filter) && named(deny) != Some(true)
    }

    /// Whether a message may be delivered to it, whichever subscription it came by.
    #[must_use]
    pub fn may_hear(&self, subject: &[u8]) -> bool {
        !self.subscribe.deny.name(subject)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Question {
    number: u64,
    left: Option<u32>,
    until: Option<Mono>,
}

/// The questions that a connection may still answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Questions {
    by_reply: BTreeMap<Bytes, Question>,
    by_age: BTreeMap<u64, Bytes>,
    asked: u64,
}

impl Questions {
    /// Somebody was sent a message that asks for an answer.
    pub(super) fn note(&mut self, reply: &[u8], now: Mono, answering: Answering) {
        self.forget(reply);
        let reply = Bytes::copy_from_slice(reply);
        let question = Question {
            number: self.asked,
            left: answering.count_max,
            until: answering.ttl_ms.map(|ttl_ms| now.plus_ms(ttl_ms)),
        };
        self.asked += 1;
        self.by_age.insert(question.number, reply.clone());
        self.by_reply.insert(reply, question);
        if self.by_reply.len() > ANSWERS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_reply.remove(&oldest);
        }
    }

    /// Whether an answer may be given now. It counts.
    pub(super) fn answer(&mut self, subject: &[u8], now: Mono) -> bool {
        let Some(question) = self.by_reply.get_mut(subject) else { return false };
        let in_time = question.until.is_none_or(|until| now <= until);
        let one_is_left = question.left.is_none_or(|left| left > 0);
        if !in_time || !one_is_left {
            self.forget(subject);
            return false;
        }
        question.left = question.left.map(|left| left - 1);
        true
    }

    fn forget(&mut self, reply: &[u8]) {
        if let Some(question) = self.by_reply.remove(reply) {
            self.by_age.remove(&question.number);
        }
    }
}
