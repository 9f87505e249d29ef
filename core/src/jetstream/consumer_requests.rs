//! The API, continued: requests about consumers.

use super::advisory::{Action, Event};
use super::alarm::Owner;
use super::api::{ApiError, ConsumerConfig, ZERO_TIME, err_code};
use super::consumer::Consumer;
use super::error::{consumer_not_found, error};
use super::pull::{PullStatus, teller};
use super::requests::Answered;
use super::{
    Answer, ConsumerAction, ConsumerKey, Effect, Input, JetStream, consumer_config, moment, retention,
};
use crate::cx::Cx;
use crate::time::Now;
use std::sync::Arc;

impl JetStream {
    /// A consumer, with the names as the broker shares them.
    pub(super) fn consumer_mut(
        &mut self,
        stream: &str,
        consumer: &str,
    ) -> Option<(Arc<str>, Arc<str>, &mut Consumer)> {
        let (stream, own) = self.streams.get_key_value(stream)?;
        let (consumer, _) = own.consumers.get_key_value(consumer)?;
        let (stream, consumer) = (stream.clone(), consumer.clone());
        let own = self.streams.get_mut(&stream)?.consumers.get_mut(&consumer)?;
        Some((stream, consumer, own))
    }

    pub(super) fn create_consumer(
        &mut self,
        now: Now,
        stream: &str,
        mut config: ConsumerConfig,
        action: ConsumerAction,
        pedantic: bool,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        self.check_replicas(config.num_replicas)?;
        config.opt_start_seq = config.opt_start_seq.filter(|seq| *seq > 0);
        let (stream, _) = self.stream_of(stream)?;
        let name = self.consumer_name(&stream, &config)?;
        let own = &self.streams[&stream];
        let existing = own.consumers.get(&name);
        // A durable stays as long as one; but whoever changes it without saying so takes that from its description.
        let durable_name = config.durable_name.take().filter(|name| !name.is_empty());
        let known = existing.and_then(|existing| existing.config.durable_name.clone());
        let is_named_so = existing.is_none() || known == durable_name;
        config.durable_name = durable_name.clone().or(known);
        let threshold_ns = config.inactive_threshold_ns.max(own.config.consumer_limits.inactive_threshold_ns);
        let mut config = consumer_config::normalise(config, &own.config, &self.limits, pedantic)?;
        // The threshold an ephemeral one is given makes it another one than the same request asks for.
        let is_as_asked = is_named_so && (config.durable_name.is_some() || threshold_ns > 0);
        if threshold_ns == 0 && existing.is_some_and(|existing| existing.config.durable_name.is_none()) {
            config.inactive_threshold_ns = consumer_config::EPHEMERAL_INACTIVE_NS;
        }
        config.durable_name = durable_name;
        // Only a request to pause changes this.
        if let Some(existing) = existing {
            config.pause_until.clone_from(&existing.config.pause_until);
        }
        match (existing, action) {
            (None, ConsumerAction::Update) => return Err(error(400, 10_149, "consumer does not exist")),
            (None, ConsumerAction::Create | ConsumerAction::CreateOrUpdate) => {
                self.check_consumer_count(&stream)?;
                retention::check_new(own, &name, &config)?;
                self.insert_consumer(now, &stream, &name, config);
                self.advise_of(&stream, &name, Action::Create, cx);
                self.tell_tidings(&stream, &name, cx);
            }
            (Some(existing), ConsumerAction::Create) if existing.config == config && is_as_asked => {}
            (Some(_), ConsumerAction::Create) => {
                return Err(error(400, err_code::CONSUMER_ALREADY_EXISTS, "consumer already exists"));
            }
            (Some(existing), ConsumerAction::Update | ConsumerAction::CreateOrUpdate)
                if existing.config == config => {}
            (Some(existing), ConsumerAction::Update | ConsumerAction::CreateOrUpdate) => {
                retention::check_unique(own, &name, &config)?;
                let is_bound = existing.push.as_ref().is_some_and(|push| push.is_bound);
                consumer_config::check_update(&existing.config, &config, is_bound)?;
                let floor = existing.floor.stream_seq;
                let limits = self.limits;
                let moved_from = existing.config.deliver_subject.clone();
                let moved_from =
                    moved_from.filter(|_| existing.config.deliver_subject != config.deliver_subject);
                if let Some(own) = self.streams.get_mut(&stream)
                    && let Some(consumer) = own.consumers.get_mut(&name)
                {
                    consumer.reconfigure(now, config, &own.log, &limits);
                }
                self.tell_tidings(&stream, &name, cx);
                if let Some(subject) = moved_from {
                    let key = ConsumerKey { stream: stream.clone(), consumer: name.clone() };
                    self.unlist_deliver_subject(&subject, &key);
                    self.list_deliver_subject(now, &key);
                }
                self.release_needless(now, &stream, floor, cx);
            }
        }
        if let Some(own) = self.streams.get(&stream) {
            own.keep_consumer(&name, cx);
        }
        self.signal(&stream, &name);
        self.arm_consumer(now, &stream, &name);
        self.describe_consumer(&stream, &name)
    }

    pub(super) fn check_replicas(&self, num_replicas: u8) -> Result<(), ApiError> {
        if self.limits.replicas_max == 1 && num_replicas > 1 {
            return Err(error(500, 10_074, "replicas > 1 not supported in non-clustered mode"));
        }
        Ok(())
    }

    /// The name a request means; a new one if it names none.
    fn consumer_name(&mut self, stream: &Arc<str>, config: &ConsumerConfig) -> Result<Arc<str>, ApiError> {
        if let Some(name) = consumer_config::name(config)? {
            return Ok(name.into());
        }
        loop {
            let name: Arc<str> = self.nuid.consumer_name().into();
            if self.streams.get(stream).is_none_or(|own| !own.consumers.contains_key(&name)) {
                return Ok(name);
            }
        }
    }

    fn check_consumer_count(&self, stream: &str) -> Result<(), ApiError> {
        let (_, stream) = self.stream_of(stream)?;
        let asked = usize::try_from(stream.config.max_consumers).unwrap_or(usize::MAX);
        if stream.consumers.len() >= asked.min(self.limits.consumers_per_stream_max) {
            return Err(error(400, 10_026, "maximum consumers limit reached"));
        }
        Ok(())
    }

    fn insert_consumer(&mut self, now: Now, stream: &Arc<str>, name: &Arc<str>, config: ConsumerConfig) {
        let (created_ns, limits) = (self.created_ns(now), self.limits);
        if let Some(own) = self.streams.get_mut(stream) {
            let consumer = Consumer::create(name, config, created_ns, now, own, &limits);
            own.consumers.insert(name.clone(), consumer);
        }
        let key = ConsumerKey { stream: stream.clone(), consumer: name.clone() };
        self.list_deliver_subject(now, &key);
    }

    pub(super) fn pause_consumer(
        &mut self,
        now: Now,
        stream: &str,
        consumer: &str,
        pause_until: Option<String>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let limits = self.limits;
        self.stream_of(stream)?;
        let (stream, consumer, own) = self.consumer_mut(stream, consumer).ok_or_else(consumer_not_found)?;
        if let Some(at) = &pause_until {
            consumer_config::check_moment(at)?;
        }
        let pause_until = pause_until.map(|at| moment::normalise_utc(&at)).filter(|at| at != ZERO_TIME);
        let config = ConsumerConfig { pause_until: pause_until.clone(), ..own.config.clone() };
        if let Some(own) = self.streams.get_mut(&stream)
            && let Some(consumer) = own.consumers.get_mut(&consumer)
        {
            consumer.reconfigure(now, config, &own.log, &limits);
        }
        self.tell_tidings(&stream, &consumer, cx);
        if let Some(own) = self.streams.get(&stream) {
            own.keep_consumer(&consumer, cx);
        }
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
        let info = self.consumer(&stream, &consumer).ok_or_else(consumer_not_found)?;
        Ok(Answer::ConsumerPaused {
            is_paused: info.paused,
            pause_until: pause_until.unwrap_or_else(|| ZERO_TIME.to_owned()),
            pause_remaining_ns: info.pause_remaining_ns,
        })
    }

    pub(super) fn reset_consumer(
        &mut self,
        now: Now,
        stream: &str,
        consumer: &str,
        seq: Option<u64>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let (stream, own) = self.stream_of(stream)?;
        let consumer: Arc<str> = consumer.into();
        let position = own.consumers.get(&consumer).ok_or_else(consumer_not_found)?;
        let reset_seq = position.reset_to(seq.filter(|seq| *seq > 0), &own.log)?;
        if let Some(own) = self.streams.get_mut(&stream)
            && let Some(consumer) = own.consumers.get_mut(&consumer)
        {
            consumer.reset(reset_seq, &own.log);
        }
        self.release_needless(now, &stream, 0, cx);
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
        let info = self.consumer(&stream, &consumer).ok_or_else(consumer_not_found)?;
        Ok(Answer::ConsumerReset { info: Box::new(info), reset_seq })
    }

    pub(super) fn describe_consumer(&self, stream: &str, consumer: &str) -> Answered {
        let (_, stream) = self.stream_of(stream)?;
        let own = stream.consumers.get(consumer).ok_or_else(consumer_not_found)?;
        let now = self.clock.unwrap_or_default();
        Ok(Answer::Consumer(Box::new(own.info(stream, consumer, now))))
    }

    pub(super) fn remove_consumer(
        &mut self,
        now: Now,
        stream: &str,
        consumer: &str,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        self.stream_of(stream)?;
        let (stream, consumer, _) = self.consumer_mut(stream, consumer).ok_or_else(consumer_not_found)?;
        self.delete_consumer(now, &stream, &consumer, cx);
        Ok(Answer::ConsumerDeleted)
    }

    /// Deletes a consumer, and what was kept for it alone.
    pub(super) fn delete_consumer(
        &mut self,
        now: Now,
        stream: &Arc<str>,
        consumer: &Arc<str>,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        if let Some(floor) = self.drop_consumer(stream, consumer, cx) {
            self.release_needless(now, stream, floor, cx);
        }
    }

    /// Deletes a consumer and nothing else. Returns up to where everything was settled.
    pub(super) fn drop_consumer(
        &mut self,
        stream: &Arc<str>,
        consumer: &Arc<str>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Option<u64> {
        let of = self.streams.get_mut(stream)?;
        let own = of.consumers.remove(consumer)?;
        of.forget_consumer(consumer, cx);
        let floor = own.floor.stream_seq;
        let mut pulls = own.pulls;
        pulls.end(|_| Some(PullStatus::ConsumerDeleted), teller(cx));
        let key = ConsumerKey { stream: stream.clone(), consumer: consumer.clone() };
        if let Some(push) = &own.push {
            self.unlist_deliver_subject(&push.subject, &key);
        }
        self.alarms.set(Owner::Consumer(key), None);
        self.advise_of(stream, consumer, Action::Delete, cx);
        Some(floor)
    }

    fn advise_of(&mut self, stream: &str, consumer: &str, action: Action, cx: &mut Cx<'_, Input, Effect>) {
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.advise(Event::Consumer { stream, consumer, action }, cx);
    }
}
