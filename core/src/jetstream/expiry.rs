//! How long messages live: the age of the stream, and what they say about themselves.
//!
//! | message | goes |
//! |---|---|
//! | without `Nats-TTL` | with the stream's `max_age` |
//! | `Nats-TTL: 5s`, `Nats-TTL: 5` | after so long, or with `max_age` if that is earlier |
//! | `Nats-TTL: never` | never by age |
//!
//! Where the stream wants delete markers, the last message of a subject that goes by age leaves one in its place: a
//! message without a body that lives for `subject_delete_marker_ttl` and leaves none itself.

use super::directives::{Directives, ROLLUP, TTL};
use super::publish::Arrival;
use super::record::MessageRow;
use super::stream::Stream;
use super::{Effect, Input, JetStream, Timer, duration};
use crate::cx::Cx;
use crate::time::{Now, Wall};
use crate::wire::header_block::HeaderBlock;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;
const MARKER_REASON: &str = "Nats-Marker-Reason";

/// How long a message says it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ttl {
    Never,
    Seconds(u64),
}

/// A time to live, `never` or at least a second: what is finer is cut off. `None` when it is none.
pub(super) fn parse_ttl(text: &str) -> Option<Ttl> {
    if text == "never" {
        return Some(Ttl::Never);
    }
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => duration::parse_ns(text)? / SECOND_NS,
    };
    (seconds > 0).then_some(Ttl::Seconds(seconds))
}

impl Ttl {
    /// The life of a message that is stored at a moment.
    pub(super) const fn from(self, stored_at: Wall, is_marker: bool) -> Life {
        let ends = match self {
            Self::Never => None,
            Self::Seconds(seconds) => {
                Some(Wall::from_ms(stored_at.as_ms().saturating_add(seconds.saturating_mul(1_000))))
            }
        };
        Life { ends, is_marker }
    }
}

/// How a message that says so ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// When; `None` for never.
    pub ends: Option<Wall>,
    /// It is a delete marker, and leaves none.
    pub is_marker: bool,
}

impl Life {
    /// What the headers of a stored message say.
    pub(super) fn of(headers: &HeaderBlock, stored_at: Wall) -> Option<Self> {
        let asked = Directives::of(headers);
        Some(parse_ttl(asked.ttl?)?.from(stored_at, asked.marker.is_some()))
    }

    pub(super) fn of_row(row: &MessageRow<'_>) -> Option<Self> {
        if row.headers.is_empty() {
            return None;
        }
        Self::of(&row.header_block(), row.stored_at)
    }
}

/// The messages that say how long they live. Derived from their headers.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Lives {
    by_seq: BTreeMap<u64, Life>,
    by_end: BTreeSet<(Wall, u64)>,
}

impl Lives {
    pub(super) fn insert(&mut self, seq: u64, life: Life) {
        self.by_seq.insert(seq, life);
        self.by_end.extend(life.ends.map(|at| (at, seq)));
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Life> {
        let life = self.by_seq.remove(&seq)?;
        if let Some(at) = life.ends {
            self.by_end.remove(&(at, seq));
        }
        Some(life)
    }

    /// Whether no age of the stream applies to it.
    fn is_eternal(&self, seq: u64) -> bool {
        self.by_seq.get(&seq).is_some_and(|life| life.ends.is_none())
    }

    fn is_marker(&self, seq: u64) -> bool {
        self.by_seq.get(&seq).is_some_and(|life| life.is_marker)
    }

    fn first_end(&self) -> Option<Wall> {
        self.by_end.first().map(|(at, _)| *at)
    }

    fn ended(&self, now: Wall) -> impl Iterator<Item = u64> {
        self.by_end.iter().take_while(move |(at, _)| *at <= now).map(|(_, seq)| *seq)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Life)> {
        self.by_seq.iter().map(|(seq, life)| (*seq, *life))
    }
}

impl Stream {
    /// When its oldest message is too old, or one has lived as long as it wanted to.
    pub(super) fn next_expiry(&self) -> Option<(Wall, Timer)> {
        let age_ms = self.config.max_age_ns.div_ceil(1_000_000);
        let first = (age_ms > 0).then(|| self.log.iter().find(|(seq, _)| !self.lives.is_eternal(*seq)));
        let old =
            first.flatten().map(|(_, meta)| Wall::from_ms(meta.stored_at.as_ms().saturating_add(age_ms)));
        let old = old.map(|at| (at, Timer::MaxAge));
        let ended = self.lives.first_end().filter(|_| self.config.allow_msg_ttl);
        old.into_iter().chain(ended.map(|at| (at, Timer::MessageTtl))).min()
    }

    /// What has lived long enough, so many at most.
    fn expired(&self, now: Wall, max: usize) -> Vec<u64> {
        let age_ms = self.config.max_age_ns.div_ceil(1_000_000);
        let is_old = |stored_at: Wall| age_ms > 0 && now.as_ms().saturating_sub(stored_at.as_ms()) >= age_ms;
        let mortal = self.log.iter().filter(|(seq, _)| !self.lives.is_eternal(*seq));
        let old = mortal.take_while(|(_, meta)| is_old(meta.stored_at)).map(|(seq, _)| seq).take(max);
        let mut expired: BTreeSet<u64> = if age_ms > 0 { old.collect() } else { BTreeSet::new() };
        if self.config.allow_msg_ttl {
            expired.extend(self.lives.ended(now).take(max));
        }
        expired.into_iter().collect()
    }
}

impl JetStream {
    /// Removes what is too old, up to a bound: the alarm stands for the rest.
    pub(super) fn expire_messages(&mut self, now: Now, name: &Arc<str>, cx: &mut Cx<'_, Input, Effect>) {
        let Some(stream) = self.streams.get(name) else { return };
        let expired = stream.expired(now.wall, self.limits.expiries_per_step_max);
        if expired.is_empty() {
            return;
        }
        let marker_ttl_ns = stream.config.subject_delete_marker_ttl_ns;
        let mut subjects: Vec<Arc<str>> = Vec::new();
        if marker_ttl_ns > 0 {
            let leaving = expired.iter().filter(|seq| !stream.lives.is_marker(**seq));
            subjects.extend(leaving.filter_map(|seq| stream.log.get(*seq)).map(|meta| meta.subject.clone()));
        }
        self.remove_messages(now, name, &expired, cx);
        for subject in subjects {
            let is_gone = self.streams.get(name).is_some_and(|own| own.log.on_subject(&subject).is_none());
            if is_gone {
                self.mark_deleted(now, name, &subject, marker_ttl_ns, cx);
            }
        }
        self.arm_stream(now, name);
    }

    /// Stores a message that says that a subject has none any more.
    fn mark_deleted(
        &mut self,
        now: Now,
        name: &Arc<str>,
        subject: &str,
        ttl_ns: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let ttl = duration::format_ns(ttl_ns);
        let headers = [(MARKER_REASON, "MaxAge"), (TTL, ttl.as_str()), (ROLLUP, "sub")];
        let marker = Arrival {
            subject: subject.to_owned(),
            headers: headers.into_iter().collect(),
            payload: Bytes::new(),
            msg_id: None,
            life: Some(Ttl::Seconds(ttl_ns / SECOND_NS).from(now.wall, true)),
            seq: None,
            stored_at: now.wall,
        };
        let seq = self.store(name, marker, cx);
        self.make_room(now, name, None, seq, cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_never_or_at_least_a_second() {
        for (text, ttl) in [
            ("never", Some(Ttl::Never)),
            ("1", Some(Ttl::Seconds(1))),
            ("1500ms", Some(Ttl::Seconds(1))),
            ("1h", Some(Ttl::Seconds(3_600))),
            ("0", None),
            ("-1", None),
            ("500ms", None),
            ("x", None),
        ] {
            assert_eq!(parse_ttl(text), ttl, "{text}");
        }
    }
}
