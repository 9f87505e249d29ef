//! The API, continued: requests about streams.

use super::advisory::{Action, Event};
use super::api::{ApiError, Paging, Retention, StreamConfig, err_code};
use super::consumer::{Consumer, Hole};
use super::dedupe::MessageIds;
use super::error::{bad_request, error, sealed, stream_config as invalid};
use super::expiry::Lives;
use super::keep::Bodies;
use super::listing::page;
use super::log::Log;
use super::requests::Answered;
use super::rules::Rules;
use super::schedules::Schedules;
use super::stream::Stream;
use super::{Answer, Effect, Input, JetStream, stream_config, upstream};
use crate::cx::Cx;
use crate::time::Now;
use crate::wire::subject::Filter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most subjects counted in one description.
const SUBJECTS_PER_PAGE: u64 = 100_000;

impl JetStream {
    pub(super) fn create_stream(
        &mut self,
        now: Now,
        config: StreamConfig,
        pedantic: bool,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        stream_config::check_create(&config)?;
        let config = self.normalise(config, pedantic)?;
        stream_config::check_replicas(&config, self.limits.replicas_max)?;
        if let Some(stream) = self.streams.get(config.name.as_str()) {
            return if stream.config == config {
                Ok(Answer::Stream(Box::new(self.info(stream))))
            } else {
                let why = "stream name already in use with a different configuration";
                Err(error(400, err_code::STREAM_NAME_EXISTS, why))
            };
        }
        let name = self.insert_stream(now, config, cx)?;
        let (_, own) = self.stream_of(&name)?;
        Ok(Answer::Stream(Box::new(self.info(own))))
    }

    /// A configuration that was checked becomes a stream. Returns its name.
    pub(super) fn insert_stream(
        &mut self,
        now: Now,
        config: StreamConfig,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Arc<str>, ApiError> {
        if self.streams.len() >= self.limits.streams_max {
            return Err(error(400, 10_027, "maximum number of streams reached"));
        }
        let rules = self.free_rules(&config)?;
        let upstreams = upstream::upstreams(config.mirror.as_ref(), &config.sources).map_err(invalid)?;
        let mut log = Log::new(config.storage);
        if let Some(last_seq) = config.first_seq.checked_sub(1) {
            log.move_last(last_seq, None);
        }
        let stream = Stream {
            rules,
            is_closed: false,
            created_ns: self.created_ns(now),
            log,
            bodies: Bodies::new(),
            batches: BTreeMap::new(),
            upstreams,
            lives: Lives::default(),
            schedules: Schedules::default(),
            ids: MessageIds::default(),
            last_msg_id: None,
            consumers: BTreeMap::new(),
            config,
        };
        stream.stage(cx);
        let stream_name = stream.config.name.clone();
        let name: Arc<str> = stream_name.as_str().into();
        self.captures.insert(&stream.rules.subjects, &name);
        self.streams.insert(name.clone(), stream);
        self.connect_copiers();
        self.advise(Event::Stream { stream: stream_name, action: Action::Create }, cx);
        Ok(name)
    }

    pub(super) fn normalise(&self, config: StreamConfig, pedantic: bool) -> Result<StreamConfig, ApiError> {
        let known = |name: &str| self.streams.get(name).map(|stream| &stream.config);
        stream_config::normalise(config, pedantic, &known)
    }

    /// The rules of a configuration, if no other stream captures any of its subjects, and nothing it republishes comes back.
    fn free_rules(&self, config: &StreamConfig) -> Result<Rules, ApiError> {
        let rules = Rules::of(config).map_err(invalid)?;
        let others = self.streams.values().filter(|stream| stream.config.name != config.name);
        if others.into_iter().any(|stream| stream.overlaps(&rules.subjects)) {
            let why = "subjects overlap with an existing stream";
            return Err(error(400, err_code::STREAM_SUBJECT_OVERLAP, why));
        }
        if self.comes_back(config, &rules) {
            return Err(invalid("stream configuration for republish destination forms a cycle"));
        }
        Ok(rules)
    }

    /// Whether what a stream republishes comes back to it by way of others: one message would go round for ever.
    fn comes_back(&self, config: &StreamConfig, rules: &Rules) -> bool {
        let mut others: Vec<&Stream> =
            self.streams.values().filter(|stream| stream.config.name != config.name).collect();
        let mut dests: Vec<Filter> = rules.republishes_to().into_iter().collect();
        while let Some(dest) = dests.pop() {
            if rules.subjects.iter().any(|own| own.overlaps(&dest)) {
                return true;
            }
            others.retain(|stream| {
                let is_reached = stream.overlaps(std::slice::from_ref(&dest));
                dests.extend(stream.rules.republishes_to().filter(|_| is_reached));
                !is_reached
            });
        }
        false
    }

    pub(super) fn update_stream(
        &mut self,
        now: Now,
        config: StreamConfig,
        pedantic: bool,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let config = self.normalise(config, pedantic)?;
        let (name, own) = self.stream_of(&config.name)?;
        stream_config::check_replicas(&config, self.limits.replicas_max)?;
        let config = stream_config::update(&own.config, config)?;
        check_consumer_limits(own, &config)?;
        let rules = self.free_rules(&config)?;
        let upstreams = upstream::upstreams(config.mirror.as_ref(), &config.sources).map_err(invalid)?;
        let begins_interest =
            own.config.retention != Retention::Interest && config.retention == Retention::Interest;
        if let Some(own) = self.streams.get_mut(&name) {
            self.captures.remove(&own.rules.subjects);
            self.captures.insert(&rules.subjects, &name);
            own.rules = rules;
            let positions = own.positions();
            own.upstreams = upstreams;
            own.resume(&positions);
            own.config = config;
            if !own.config.allow_atomic {
                own.batches.clear();
            }
            own.ids.trim(now.wall, own.config.duplicate_window_ns);
            own.stage(cx);
        }
        self.connect_copiers();
        if begins_interest {
            self.release_settled(now, &name, cx);
        }
        self.enforce_limits(now, &name, None, cx);
        self.expire_messages(now, &name, cx);
        self.arm_stream(now, &name);
        self.advise(Event::Stream { stream: name.to_string(), action: Action::Modify }, cx);
        let (_, own) = self.stream_of(&name)?;
        Ok(Answer::Stream(Box::new(self.info(own))))
    }

    pub(super) fn describe_stream(
        &self,
        stream: &str,
        subjects: Option<&str>,
        offset: u64,
        deleted: bool,
    ) -> Answered {
        let (_, stream) = self.stream_of(stream)?;
        let subjects = subjects.map(Filter::parse).transpose().map_err(|_| bad_request())?;
        let mut info = self.info(stream);
        let mut paging = Paging::default();
        if let Some(filter) = subjects {
            let matching = stream.log.subjects().filter(|(subject, _)| filter.matches(subject));
            let counts = matching.map(|(subject, seqs)| (subject.to_string(), seqs.len() as u64));
            let page = page(counts, offset, SUBJECTS_PER_PAGE);
            if page.paging.total > 0 {
                paging = Paging { offset, ..page.paging };
            }
            info.state.subjects = page.items.into_iter().collect();
        }
        if deleted && info.state.num_deleted > 0 {
            let seqs = info.state.first_seq..=info.state.last_seq;
            info.state.deleted = seqs.filter(|seq| !stream.log.contains(*seq)).collect();
        }
        Ok(Answer::StreamDescribed { info: Box::new(info), subjects: paging })
    }

    pub(super) fn delete_stream(&mut self, stream: &str, cx: &mut Cx<'_, Input, Effect>) -> Answered {
        let (name, own) = self.stream_of(stream)?;
        for consumer in own.consumers.keys().cloned().collect::<Vec<_>>() {
            self.drop_consumer(&name, &consumer, cx);
        }
        if let Some(own) = self.streams.remove(&name) {
            self.captures.remove(&own.rules.subjects);
            own.unstage(cx);
        }
        self.advise(Event::Stream { stream: name.to_string(), action: Action::Delete }, cx);
        self.alarms.set(super::Owner::Stream(name), None);
        self.copying.remove(stream);
        self.connect_copiers();
        Ok(Answer::StreamDeleted)
    }

    pub(super) fn purge_stream(
        &mut self,
        now: Now,
        stream: &str,
        filter: Option<&str>,
        seq: Option<u64>,
        keep: Option<u64>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let (name, own) = self.stream_of(stream)?;
        if own.config.sealed {
            return Err(sealed());
        }
        if own.config.deny_purge {
            return Err(error(500, 10_110, "stream purge not permitted"));
        }
        let (seq, keep) = (seq.filter(|seq| *seq > 0), keep.filter(|keep| *keep > 0));
        if seq.is_some() && keep.is_some() {
            return Err(bad_request());
        }
        let filter = filter.filter(|filter| !matches!(*filter, "" | ">")).map(Filter::parse).transpose();
        let filter = filter.map_err(|_| bad_request())?;
        let matching = own
            .log
            .iter()
            .filter(|(_, meta)| filter.as_ref().is_none_or(|filter| filter.matches(meta.subject)));
        let mut purged: Vec<u64> = matching.map(|(own, _)| own).collect();
        match (seq, keep) {
            (Some(seq), _) => purged.truncate(purged.partition_point(|own| *own < seq)),
            (None, Some(keep)) => {
                purged.truncate(purged.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX)));
            }
            (None, None) => {}
        }
        let messages = self.purge_messages(now, &name, &purged, cx);
        // The server gives no sequence below the one it was told to purge to, even if that lies ahead.
        if let (Some(seq), None) = (seq, &filter)
            && let Some(own) = self.streams.get_mut(&name)
            && seq > own.log.last_seq() + 1
        {
            own.log.move_last(seq - 1, own.log.last_at());
            own.stage(cx);
        }
        let is_told_of = filter.is_some() || keep.is_some();
        let hole = Hole { seqs: &purged, filter: filter.as_ref(), is_told_of };
        self.jump_over(now, &name, &hole, cx);
        Ok(Answer::Purged { messages })
    }
}

/// Whether the consumers that are there are within the limits to come.
fn check_consumer_limits(own: &Stream, config: &StreamConfig) -> Result<(), ApiError> {
    let (before, limits) = (own.config.consumer_limits, config.consumer_limits);
    let pending = (limits.max_ack_pending > 0 && limits.max_ack_pending != before.max_ack_pending)
        .then_some(limits.max_ack_pending);
    let inactive = (limits.inactive_threshold_ns > 0
        && limits.inactive_threshold_ns != before.inactive_threshold_ns)
        .then_some(limits.inactive_threshold_ns);
    let is_over = |own: &Consumer| {
        pending.is_some_and(|max| own.config.max_ack_pending > max)
            || inactive.is_some_and(|max| own.config.inactive_threshold_ns > max)
    };
    let over: Vec<&str> =
        own.consumers.iter().filter(|(_, own)| is_over(own)).map(|(name, _)| name.as_ref()).collect();
    if over.is_empty() {
        return Ok(());
    }
    Err(error(500, 10_069, format!("change to limits violates consumers: {}", over.join(", "))))
}
