//! Entries of an archive that is restored: what the stream held, consumers, messages.

use super::{Phase, Restore, Target, because, failed, name_exists, out_of_resources};
use crate::cx::Cx;
use crate::jetstream::api::{AckPolicy, ApiError, Discard, StreamConfig, StreamState};
use crate::jetstream::archive::{CONSUMER, Head, STATE, consumers};
use crate::jetstream::archives::Budget;
use crate::jetstream::directives::TTL;
use crate::jetstream::error::error;
use crate::jetstream::expiry::{Life, Ttl, parse_ttl};
use crate::jetstream::record::{ConsumerRow, ConsumerState};
use crate::jetstream::upstream::note_copy;
use crate::jetstream::{Effect, Input, JetStream, StoredMessage, consumer_config, publish, stream_config};
use crate::time::{Now, Wall};
use crate::wire::header_block::HeaderBlock;
use crate::wire::subject::Subject;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Largest entry that is no message.
const ENTRY_BYTES_MAX: usize = 16 << 20;
const CONSUMERS_BYTES_MAX: usize = 64 << 20;
/// Largest headers, as the index counts them.
const HEADER_BYTES_MAX: usize = 1 << 24;
/// Sequences beyond this are none.
const SEQ_MAX: u64 = u64::MAX >> 1;

/// Whether a state can be one of a stream.
fn check_state(state: &StreamState) -> Result<(), ApiError> {
    let StreamState { messages, first_seq, last_seq, .. } = *state;
    let refused = |why: &str| Err(failed(format_args!("invalid stream state: {why}")));
    let is_new = (messages, first_seq, last_seq) == (0, 0, 0);
    if !is_new && (first_seq == 0 || last_seq > SEQ_MAX || first_seq > last_seq + 1) {
        return refused("inconsistent message count or sequence range");
    }
    if !is_new && messages > last_seq + 1 - first_seq {
        return refused("message count exceeds sequence range");
    }
    Ok(())
}

/// What `state.json` says.
fn read_state(body: &[u8]) -> Result<StreamState, ApiError> {
    let error = |why| failed(format_args!("error in {STATE}: {why}"));
    let state: serde_json::Value = serde_json::from_slice(body).map_err(error)?;
    if state["consumer_count"].as_i64().is_some_and(|count| count < 0) {
        return Err(failed("invalid stream state: negative consumer count"));
    }
    let state = serde_json::from_value(state).map_err(error)?;
    check_state(&state)?;
    Ok(state)
}

impl JetStream {
    /// Reads an entry, if it is whole.
    pub(super) fn read_entry(
        &mut self,
        now: Now,
        restore: &mut Restore,
        budget: &mut Budget,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<bool, ApiError> {
        let Some(head) = restore.reader.head().map_err(failed)? else { return Ok(false) };
        match restore.phase {
            Phase::State if head.name != STATE => return Err(failed("expected state.json first")),
            Phase::Consumers(_) if !head.name.starts_with(CONSUMER) => {
                return Err(failed(format_args!("expected consumer, found {:?}", head.name)));
            }
            Phase::State | Phase::Consumers(_) if head.body_bytes() > ENTRY_BYTES_MAX => {
                return Err(out_of_resources());
            }
            Phase::Messages if head.is_end() => {
                restore.phase = Phase::Done;
                return Ok(true);
            }
            Phase::Messages => self.check_message(head, restore.target.as_ref(), &restore.config)?,
            Phase::State | Phase::Consumers(_) | Phase::Done => {}
        }
        let Some((head, body)) = restore.reader.entry().map_err(failed)? else { return Ok(false) };
        budget.spend(body.len());
        match restore.phase {
            Phase::State => self.open(now, restore, &body, cx)?,
            Phase::Consumers(left) => {
                let name = head.name.strip_prefix(CONSUMER).unwrap_or_default();
                self.hold_consumer(now, restore, name, &body)?;
                restore.phase = if left > 1 { Phase::Consumers(left - 1) } else { Phase::Messages };
            }
            Phase::Messages => self.put_back(now, restore, &head, &body, cx)?,
            Phase::Done => {}
        }
        Ok(true)
    }

    /// The stream is there from here on, for nobody but this restore.
    fn open(
        &mut self,
        now: Now,
        restore: &mut Restore,
        body: &[u8],
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), ApiError> {
        let state = read_state(body)?;
        let config = restore.config.clone();
        if self.streams.contains_key(config.name.as_str()) {
            return Err(name_exists());
        }
        let adding = |why| because("error adding stream", &why);
        stream_config::check_replicas(&config, self.limits.replicas_max).map_err(adding)?;
        let name = self.insert_stream(now, config, cx).map_err(adding)?;
        let Some(stream) = self.streams.get_mut(&name) else { return Ok(()) };
        stream.is_closed = true;
        let at = state.first_seq.saturating_sub(1);
        stream.log.move_last(at, None);
        stream.stage(cx);
        let created_ns = stream.created_ns;
        restore.target = Some(Target { name, created_ns, last_seq: state.last_seq, at });
        let consumers = state.consumer_count;
        restore.phase = if consumers > 0 { Phase::Consumers(consumers) } else { Phase::Messages };
        Ok(())
    }

    /// A consumer is kept until the stream is whole: until then there is nothing to deliver.
    fn hold_consumer(
        &mut self,
        now: Now,
        restore: &mut Restore,
        name: &str,
        body: &[u8],
    ) -> Result<(), ApiError> {
        let (config, mut state) = consumers::read(name, body).map_err(failed)?;
        let adding = |why: ApiError| because(&format!("failed to add consumer {name:?}"), &why);
        let named = consumer_config::name(&config).map_err(adding)?.unwrap_or(name).to_owned();
        let config =
            consumer_config::normalise(config, &restore.config, &self.limits, false).map_err(adding)?;
        let max = usize::try_from(restore.config.max_consumers).unwrap_or(usize::MAX);
        if restore.consumers.len() >= max.min(self.limits.consumers_per_stream_max) {
            return Err(adding(error(400, 10_026, "maximum consumers limit reached")));
        }
        restore.consumers_bytes += body.len();
        if restore.consumers_bytes > CONSUMERS_BYTES_MAX {
            return Err(out_of_resources());
        }
        // Nothing below the first message can be unsettled.
        let before = restore.target.as_ref().map_or(0, |target| target.at);
        for position in [&mut state.delivered, &mut state.ack_floor] {
            position.stream_seq = position.stream_seq.max(before);
        }
        if config.ack_policy == AckPolicy::None {
            state = ConsumerState { pending: BTreeMap::new(), ..state };
        }
        let created_ns = self.created_ns(now);
        restore.consumers.push(ConsumerRow { name: named, config, created_ns, state });
        Ok(())
    }

    fn check_message(
        &self,
        head: &Head,
        target: Option<&Target>,
        config: &StreamConfig,
    ) -> Result<(), ApiError> {
        let Head { seq, header_bytes, .. } = *head;
        let Some(target) = target else { return Ok(()) };
        let bytes = head.body_bytes();
        if seq == 0 {
            return Err(failed("expected message sequence"));
        }
        if bytes > self.limits.message_bytes_max || header_bytes >= HEADER_BYTES_MAX {
            return Err(failed(format_args!("message sequence {seq} exceeds maximum payload size")));
        }
        if usize::try_from(config.max_msg_size).is_ok_and(|max| bytes > max) {
            return Err(failed(format_args!("message sequence {seq} exceeds maximum message size")));
        }
        if seq <= target.at || seq > SEQ_MAX {
            return Err(failed(format_args!("message sequence {seq} out of order")));
        }
        if Subject::parse(&head.name).is_err() {
            return Err(failed(format_args!("message sequence {seq} has no valid subject")));
        }
        Ok(())
    }

    /// Stores a message where it was.
    fn put_back(
        &mut self,
        now: Now,
        restore: &mut Restore,
        head: &Head,
        body: &Bytes,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), ApiError> {
        let Head { seq, header_bytes, timestamp_ns, .. } = *head;
        let Some(target) = &mut restore.target else { return Ok(()) };
        let messages_max = self.limits.messages_per_stream_max;
        let found = self.streams.get_mut(&target.name).filter(|own| own.created_ns == target.created_ns);
        let stream = found.ok_or_else(|| failed("the stream was deleted"))?;
        if stream.log.len() >= messages_max {
            return Err(out_of_resources());
        }
        // Somebody may have purged it to further on meanwhile.
        if seq <= stream.log.last_seq() {
            return Err(failed(format_args!("failed to store message sequence {seq}: sequence mismatch")));
        }
        target.at = seq;
        let headers = HeaderBlock::from_wire(body.slice(..header_bytes));
        let stored_at = Wall::from_ms(u64::try_from(timestamp_ns).unwrap_or(0) / 1_000_000);
        if let Some(ttl) = headers.text(TTL) {
            let ttl = parse_ttl(ttl)
                .ok_or_else(|| failed("failed to parse message TTL: invalid per-message TTL (10165)"))?;
            let is_over = matches!(ttl, Ttl::Seconds(_)) && ttl.from(stored_at, false).ends < Some(now.wall);
            if is_over {
                return Ok(());
            }
        }
        if !restore.config.sources.is_empty() {
            note_copy(&mut restore.copies, &headers, seq);
        }
        let (name, subject) = (target.name.clone(), stream.log.shared_subject(&head.name));
        stream.log.append(seq, publish::meta(&subject, header_bytes, head.payload_bytes, stored_at));
        if let Some(life) = Life::of(&headers, stored_at) {
            stream.lives.insert(seq, life);
        }
        let payload = body.slice(header_bytes..);
        let message = StoredMessage { seq, subject: subject.clone(), headers, payload, stored_at };
        stream.note_schedule(&message, cx);
        stream.keep_message(message, cx);
        self.tell_stored(&name, &subject, seq);
        // A stream that refuses what is over its limits keeps what it had.
        if restore.config.discard == Discard::Old {
            self.enforce_limits(now, &name, Some(&subject), cx);
        }
        Ok(())
    }
}
