//! Where a stream is kept: a file stream in the tables, a memory stream in the machine, where it is lost with it.
//!
//! This is the one place that stages rows of streams, messages and consumers.

use super::api::{Storage, StreamConfig};
use super::consumer::Consumer;
use super::record::{self, StreamRow};
use super::stream::Stream;
use super::{Effect, Input, StoredMessage};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::store::{Table, View};
use crate::time::Wall;
use std::collections::BTreeMap;

/// The messages of a memory stream, by sequence; of a file stream none. Lost.
pub(super) type Bodies = BTreeMap<u64, StoredMessage>;

impl Stream {
    pub(super) fn is_durable(&self) -> bool {
        self.config.storage == Storage::File
    }

    /// Keeps everything about the stream that no message says.
    pub(super) fn stage(&self, cx: &mut Cx<'_, Input, Effect>) {
        if !self.is_durable() {
            return;
        }
        let row = StreamRow {
            config: self.config.clone(),
            created_ns: self.created_ns,
            last_seq: self.log.last_seq(),
            last_at: self.log.last_at(),
            positions: self.positions(),
        };
        cx.put(Table::JsStream, &record::stream_key(&self.config.name), &record::to_json(&row));
    }

    /// The stream is gone, and its messages are.
    pub(super) fn unstage(&self, cx: &mut Cx<'_, Input, Effect>) {
        if !self.is_durable() {
            return;
        }
        for (seq, _) in self.log.iter() {
            let key = record::message_key(&self.config.name, seq);
            cx.delete(Table::JsMessage, &key);
            if self.config.allow_msg_schedules {
                cx.delete(Table::JsSchedule, &key);
            }
        }
        cx.delete(Table::JsStream, &record::stream_key(&self.config.name));
    }

    pub(super) fn keep_message(&mut self, message: StoredMessage, cx: &mut Cx<'_, Input, Effect>) {
        if self.is_durable() {
            let key = record::message_key(&self.config.name, message.seq);
            cx.put(Table::JsMessage, &key, &record::encode_message(&message));
        } else {
            self.bodies.insert(message.seq, message);
        }
    }

    pub(super) fn drop_message(&mut self, seq: u64, cx: &mut Cx<'_, Input, Effect>) {
        if self.is_durable() {
            let key = record::message_key(&self.config.name, seq);
            cx.delete(Table::JsMessage, &key);
            if self.config.allow_msg_schedules {
                cx.delete(Table::JsSchedule, &key);
            }
        } else {
            self.bodies.remove(&seq);
        }
    }

    /// Keeps when a schedule is due; [`NEVER`](super::schedules::NEVER) if it is none any more.
    pub(super) fn keep_due(&self, seq: u64, due: Wall, cx: &mut Cx<'_, Input, Effect>) {
        if self.is_durable() {
            let key = record::message_key(&self.config.name, seq);
            cx.put(Table::JsSchedule, &key, &due.as_ms().to_be_bytes());
        }
    }

    /// Keeps a consumer as of its last flush.
    pub(super) fn keep_consumer(&self, consumer: &str, cx: &mut Cx<'_, Input, Effect>) {
        let kept = |own: &&Consumer| self.is_durable() && !own.config.mem_storage;
        if let Some(own) = self.consumers.get(consumer).filter(kept) {
            let key = record::consumer_key(&self.config.name, consumer);
            cx.put(Table::JsConsumer, &key, &record::to_json(&own.row(consumer)));
        }
    }

    pub(super) fn forget_consumer(&self, consumer: &str, cx: &mut Cx<'_, Input, Effect>) {
        if self.is_durable() {
            cx.delete(Table::JsConsumer, &record::consumer_key(&self.config.name, consumer));
        }
    }
}

/// The message at a sequence the index says is stored.
pub(super) fn read_message(
    config: &StreamConfig,
    bodies: &Bodies,
    view: &dyn View,
    seq: u64,
) -> Result<StoredMessage, Halt> {
    match config.storage {
        Storage::File => record::read_message(view, &config.name, seq),
        Storage::Memory => Ok(bodies.get(&seq).expect("what the index holds is kept").clone()),
    }
}
