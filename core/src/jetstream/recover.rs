//! Recovery: tables → streams, indexes, message ids, and consumers as of their last flush.
//!
//! Recovery has no clock. Message ids are remembered as of the newest message of their stream, and consumers stay what
//! their rows say, until the first input brings the clocks and wakes them.

use super::api::{AccountApi, ConsumerConfig, StreamConfig};
use super::archives::Archives;
use super::capture::Captures;
use super::consumer::Consumer;
use super::dedupe::MessageIds;
use super::directives::SCHEDULE;
use super::expiry::{Life, Lives};
use super::keep::Bodies;
use super::log::{Log, Meta};
use super::nuid::Nuid;
use super::record::{self, ConsumerState, StreamRow};
use super::rules::Rules;
use super::schedules::{Scheduled, Schedules};
use super::stream::Stream;
use super::upstream::{self, Position, note_copy};
use super::{ConsumerKey, JetStream, Limits, alarm, publish};
use crate::halt::Halt;
use crate::store::{Table, View};
use crate::time::Wall;
use crate::wire::{header_block, headers};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What the tables determine.
#[derive(Clone, PartialEq, Debug)]
pub struct DurableState {
    /// By name.
    pub streams: BTreeMap<Arc<str>, DurableStream>,
}

/// What the tables determine of a stream.
#[derive(Clone, PartialEq, Debug)]
pub struct DurableStream {
    /// How it is configured.
    pub config: StreamConfig,
    /// When it was created, in nanoseconds since 1970.
    pub created_ns: u64,
    /// The last sequence ever stored.
    pub last_seq: u64,
    /// When that one was stored.
    pub last_at: Option<Wall>,
    /// What is stored, by sequence.
    pub messages: BTreeMap<u64, Meta>,
    /// Which of these say how long they live.
    pub lives: BTreeMap<u64, Life>,
    /// Which of these are schedules, by subject, and when they are due.
    pub schedules: BTreeMap<Arc<str>, Scheduled>,
    /// Up to where its sources are copied.
    pub positions: BTreeMap<String, Position>,
    /// By name.
    pub consumers: BTreeMap<Arc<str>, DurableConsumer>,
}

/// What the tables determine of a consumer.
#[derive(Clone, PartialEq, Debug)]
pub struct DurableConsumer {
    /// How it is configured.
    pub config: ConsumerConfig,
    /// When it was created, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Its state as of the last flush.
    pub state: ConsumerState,
}

impl JetStream {
    pub(super) fn from_tables(limits: Limits, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let mut streams = BTreeMap::new();
        for row in record::read_streams(view)? {
            let name: Arc<str> = row.config.name.as_str().into();
            streams.insert(name, recover_stream(row, &limits, view)?);
        }
        let mut deliver_subjects: BTreeMap<Arc<str>, BTreeSet<ConsumerKey>> = BTreeMap::new();
        for (stream, own) in &streams {
            for (consumer, own) in &own.consumers {
                let Some(push) = &own.push else { continue };
                let key = ConsumerKey { stream: Arc::clone(stream), consumer: consumer.clone() };
                deliver_subjects.entry(push.subject.clone()).or_default().insert(key);
            }
        }
        let mut captures = Captures::default();
        for (name, stream) in &streams {
            captures.insert(&stream.rules.subjects, name);
        }
        Ok(Self {
            limits,
            clock: None,
            created_last_ns: streams.values().map(|stream: &Stream| stream.created_ns).max().unwrap_or(0),
            nuid: Nuid::new(incarnation),
            streams,
            captures,
            deliver_subjects,
            heard_of: None,
            ready: VecDeque::new(),
            alarms: alarm::Alarms::default(),
            api: AccountApi::default(),
            copiers: BTreeMap::new(),
            copying: BTreeSet::new(),
            archives: Archives::default(),
        })
    }

    pub(super) fn durable_state(&self) -> DurableState {
        let durable = self.streams.iter().filter(|(_, stream)| stream.is_durable());
        let streams = durable.map(|(name, stream)| {
            let kept = stream.consumers.iter().filter(|(_, own)| !own.config.mem_storage);
            let consumers = kept.map(|(name, own)| {
                let Consumer { config, created_ns, flushed, .. } = own;
                let (config, state) = (config.clone(), flushed.clone());
                (name.clone(), DurableConsumer { config, created_ns: *created_ns, state })
            });
            let own = DurableStream {
                config: stream.config.clone(),
                created_ns: stream.created_ns,
                last_seq: stream.log.last_seq(),
                last_at: stream.log.last_at(),
                messages: stream.log.iter().map(|(seq, meta)| (seq, meta.to_meta())).collect(),
                lives: stream.lives.iter().collect(),
                schedules: stream.schedules.iter().map(|(subject, own)| (subject.clone(), own)).collect(),
                positions: stream.positions(),
                consumers: consumers.collect(),
            };
            (name.clone(), own)
        });
        DurableState { streams: streams.collect() }
    }
}

fn recover_stream(row: StreamRow, limits: &Limits, view: &dyn View) -> Result<Stream, Halt> {
    let StreamRow { config, created_ns, last_seq, last_at, positions } = row;
    let rules = Rules::of(&config).map_err(|detail| Halt::Corrupt { table: Table::JsStream, detail })?;
    let mut log = Log::new(config.storage);
    let corrupt = |detail| Halt::Corrupt { table: Table::JsStream, detail };
    let upstreams = upstream::upstreams(config.mirror.as_ref(), &config.sources).map_err(corrupt)?;
    let mut copies = BTreeMap::new();
    let (mut ids, mut lives) = (MessageIds::default(), Lives::default());
    let mut schedules = Schedules::default();
    let mut last_msg_id = None;
    record::scan_rows(view, &config.name, 0, &mut |row| {
        let subject = log.shared_subject(row.subject);
        log.append(row.seq, publish::meta(&subject, row.headers.len(), row.payload.len(), row.stored_at));
        last_msg_id = header_block::text_in(row.headers, headers::NATS_MSG_ID).map(Arc::from);
        if !config.sources.is_empty() {
            note_copy(&mut copies, &row.header_block(), row.seq);
        }
        if let Some(id) = last_msg_id.as_ref().filter(|_| config.duplicate_window_ns > 0) {
            ids.insert(Arc::clone(id), row.seq, row.stored_at);
        }
        if header_block::text_in(row.headers, SCHEDULE).is_some() {
            schedules.note(&subject, row.seq, &row.header_block(), row.stored_at);
        }
        if let Some(life) = Life::of_row(row) {
            lives.insert(row.seq, life);
        }
        ids.trim(row.stored_at, config.duplicate_window_ns);
        ControlFlow::Continue(())
    })?;
    for (seq, due) in record::read_dues(view, &config.name)? {
        if let Some(meta) = log.get(seq) {
            schedules.set_due(meta.subject, seq, due);
        }
    }
    if log.last_seq() <= last_seq {
        log.move_last(last_seq, last_at);
    }
    if !log.contains(log.last_seq()) {
        last_msg_id = None;
    }
    let mut consumers = BTreeMap::new();
    for row in record::read_consumers(view, &config.name)? {
        let named = Some(row.name.as_str()).filter(|name| !name.is_empty());
        let name: Arc<str> = named.or(row.config.name.as_deref()).unwrap_or_default().into();
        consumers.insert(name, Consumer::recovered(row, limits));
    }
    let (bodies, batches) = (Bodies::new(), BTreeMap::new());
    let mut stream = Stream {
        config,
        rules,
        is_closed: false,
        created_ns,
        log,
        bodies,
        batches,
        upstreams,
        lives,
        schedules,
        ids,
        last_msg_id,
        consumers,
    };
    stream.resume(&positions);
    stream.resume(&copies);
    Ok(stream)
}
