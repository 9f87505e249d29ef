//! One stream: its log, the message ids it remembers, its consumers.

use super::Timer;
use super::api::{StreamConfig, StreamInfo, StreamState, ZERO_TIME};
use super::batch::Batch;
use super::consumer::Consumer;
use super::dedupe::MessageIds;
use super::expiry::Lives;
use super::keep::Bodies;
use super::log::{Log, Meta};
use super::rules::Rules;
use super::schedules::Schedules;
use super::upstream::Upstream;
use crate::time::{Mono, Now, Wall};
use crate::wire::subject::Filter;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stream {
    /// Durable.
    pub(super) config: StreamConfig,
    /// Derived from the configuration.
    pub(super) rules: Rules,
    /// It is being restored: it takes nothing from anybody else; lost.
    pub(super) is_closed: bool,
    /// Durable: with the name, which stream this is.
    pub(super) created_ns: u64,
    /// Derived from the rows of its messages.
    pub(super) log: Log,
    /// Lost.
    pub(super) bodies: Bodies,
    /// Where it copies from. Derived from the configuration; the positions from its copies and its row.
    pub(super) upstreams: Vec<Upstream>,
    /// By id; lost.
    pub(super) batches: BTreeMap<String, Batch>,
    /// Derived from the rows of its messages.
    pub(super) lives: Lives,
    /// Derived from the rows of its messages; when they are due again, durable.
    pub(super) schedules: Schedules,
    /// Derived from the rows of its messages.
    pub(super) ids: MessageIds,
    /// The id of the message stored last; derived while that message is there, lost otherwise.
    pub(super) last_msg_id: Option<Arc<str>>,
    /// Durable as of their last flush.
    pub(super) consumers: BTreeMap<Arc<str>, Consumer>,
}

impl Stream {
    pub(super) fn overlaps(&self, subjects: &[Filter]) -> bool {
        self.rules.subjects.iter().any(|own| subjects.iter().any(|other| own.overlaps(other)))
    }

    /// Takes a message out of the indexes, if it is there.
    pub(super) fn forget(&mut self, seq: u64) -> Option<Meta> {
        self.lives.remove(seq);
        let meta = self.log.remove(seq)?;
        self.schedules.forget(&meta.subject, seq);
        Some(meta)
    }

    /// Remembers under which id a sequence was given, if under any.
    pub(super) fn remember_id(&mut self, id: Option<&str>, seq: u64, at: Wall) {
        let id: Option<Arc<str>> = id.map(Into::into);
        if let Some(id) = id.as_ref().filter(|_| self.config.duplicate_window_ns > 0) {
            self.ids.insert(id.clone(), seq, at);
        }
        self.last_msg_id = id;
    }

    /// When its first message or its oldest message id is too old, or a batch is.
    pub(super) fn next_due(&self, now: Now) -> Option<(Mono, Timer)> {
        let window = self.ids.due(self.config.duplicate_window_ns).map(|at| (at, Timer::DuplicateWindow));
        let old = [self.next_expiry(), window, self.next_schedule()].into_iter().flatten().min();
        let old =
            old.map(|(at, timer)| (now.mono.plus_ms(at.as_ms().saturating_sub(now.wall.as_ms())), timer));
        let idle = self.batches.values().map(|batch| (batch.ends, Timer::BatchIdle)).min();
        [old, idle].into_iter().flatten().min()
    }

    /// As the API describes it, without counts by subject and without the sequences that are gone.
    pub(super) fn info(&self, now: Option<Wall>) -> StreamInfo {
        let (first_seq, last_seq) = (self.log.first_seq(), self.log.last_seq());
        let messages = self.log.len() as u64;
        let time = |at: Option<Wall>| at.map_or_else(|| ZERO_TIME.into(), Wall::rfc3339);
        let num_deleted = if messages == 0 { 0 } else { last_seq + 1 - first_seq - messages };
        StreamInfo {
            config: self.config.clone(),
            created: rfc3339_ns(self.created_ns),
            state: StreamState {
                messages,
                bytes: self.log.bytes(),
                first_seq,
                last_seq,
                first_ts: time(self.log.first().map(|(_, meta)| meta.stored_at)),
                last_ts: time(self.log.last_at()),
                num_subjects: self.log.subjects().count() as u64,
                num_deleted,
                deleted: Vec::new(),
                subjects: BTreeMap::new(),
                consumer_count: self.consumers.len() as u64,
            },
            mirror: None,
            sources: Vec::new(),
            ts: now.map_or_else(|| ZERO_TIME.into(), Wall::rfc3339),
        }
    }
}

/// RFC 3339 in UTC with nanoseconds.
pub(super) fn rfc3339_ns(ns: u64) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(jiff::Timestamp::MAX);
    format!("{stamp:.9}")
}
