//! Mirrors and sources: what a stream copies from other streams of this broker, and how far it has come.
//!
//! ```text
//!  origin: a message is stored ─► its copiers are noted ─► copies due (a step of its own, bounded) ─► store
//! ```
//!
//! | | mirror | source |
//! |---|---|---|
//! | sequence and time of a copy | those of the original | the next one, now |
//! | headers | as they are | without expectations, with `Nats-Stream-Source` |
//! | position | its own last sequence | in the header of the last copy; in the stream's row once that one is gone |
//!
//! So a restart neither repeats nor leaves out anything. A position belongs to one origin: a stream of the same name that
//! was created later is copied from its beginning. A copy that has no room waits until there is some. Not here: origins of
//! other accounts, which are refused.

use super::admit::{Rollup, Staged, check_rollup, check_room};
use super::api::{Retention, StreamSource, StreamSourceInfo};
use super::directives::{Directives, STREAM_SOURCE};
use super::error::stream_not_found;
use super::expiry::Life;
use super::log::{Filters, Log};
use super::publish::{Arrival, Publish};
use super::stream::Stream;
use super::transform::Transform;
use super::{Effect, Input, JetStream, StoredMessage, keep, record};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::store::View;
use crate::time::{Mono, Now, Wall};
use crate::wire::header_block::HeaderBlock;
use crate::wire::subject::Filter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Stands between several filters in a header.
const SEPARATOR: &str = "\x0c";

/// Up to where a source is copied.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Which origin, of those that had its name.
    pub origin: String,
    /// The last message of it that was copied, or left out for good.
    pub seq: u64,
    /// The sequence that was the copying stream's last one then.
    pub at: u64,
}

/// One origin of a stream.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Upstream {
    source: StreamSource,
    is_mirror: bool,
    /// How its header tells it from others: the origin, filters, destinations.
    key: String,
    /// Derived from the source.
    filters: Filters,
    transforms: Vec<Transform>,
    /// Of a source; derived from its copies and the stream's row.
    pub(super) position: Position,
    /// Which origin was looked at, by its creation, and up to where nothing more matches; lost.
    looked: (u64, u64),
    /// When its origin was last heard of; lost.
    active: Option<Mono>,
}

/// The origins a configuration names, none of which has been copied from.
pub(super) fn upstreams(
    mirror: Option<&StreamSource>,
    sources: &[StreamSource],
) -> Result<Vec<Upstream>, String> {
    let mirror = mirror.map(|mirror| Upstream::new(mirror, true));
    mirror.into_iter().chain(sources.iter().map(|source| Upstream::new(source, false))).collect()
}

impl Upstream {
    fn new(source: &StreamSource, is_mirror: bool) -> Result<Self, String> {
        let all = |own: &str| if own.is_empty() { ">".to_owned() } else { own.to_owned() };
        let (mut taken, mut given) = (vec![all(&source.filter_subject)], vec![">".to_owned()]);
        if !source.subject_transforms.is_empty() {
            taken = source.subject_transforms.iter().map(|own| all(&own.src)).collect();
            given = source.subject_transforms.iter().map(|own| all(&own.dest)).collect();
        }
        let parsed = taken.iter().filter(|own| *own != ">").map(|own| Filter::parse(own));
        let parsed = parsed.collect::<Result<Vec<_>, _>>().map_err(|why| why.to_string())?;
        // One that takes everything makes the others pointless.
        let filters = if parsed.len() == taken.len() { Filters::new(parsed) } else { Filters::default() };
        let transforms = source.subject_transforms.iter().map(|own| Transform::parse(&own.src, &own.dest));
        Ok(Self {
            key: format!("{} {} {}", source.name, taken.join(SEPARATOR), given.join(SEPARATOR)),
            source: source.clone(),
            is_mirror,
            filters,
            transforms: transforms.collect::<Result<_, _>>()?,
            position: Position::default(),
            looked: (0, 0),
            active: None,
        })
    }

    /// The value of the header of a copy.
    fn header(&self, origin: &Stream, message: &StoredMessage) -> String {
        let (name, rest) = self.key.split_once(' ').unwrap_or((&self.key, ""));
        format!("{name} {} {rest} {} {}", message.seq, message.subject, origin.identity())
    }

    /// Where it goes on in an origin.
    fn next(&self, own: &Log, origin: &Stream) -> u64 {
        let looked_to = if self.looked.0 == origin.created_ns { self.looked.1 } else { 0 };
        let is_begun = !self.is_mirror && self.position.origin == origin.identity();
        let copied = if self.is_mirror { own.last_seq() } else { self.position.seq };
        if is_begun || (self.is_mirror && copied > 0) {
            return copied.max(looked_to) + 1;
        }
        let from_time = || {
            let start: jiff::Timestamp = self.source.opt_start_time.as_ref()?.parse().ok()?;
            let start = u64::try_from(start.as_nanosecond()).unwrap_or(0).div_ceil(1_000_000);
            Some(origin.log.first_since(Wall::from_ms(start)).unwrap_or(origin.log.last_seq() + 1))
        };
        let start = if self.source.opt_start_seq > 0 { Some(self.source.opt_start_seq) } else { from_time() };
        start.unwrap_or(1).max(looked_to + 1)
    }

    fn rewritten(&self, subject: &str) -> String {
        let rewritten = self.transforms.iter().find_map(|transform| transform.apply(subject));
        rewritten.map_or_else(|| subject.to_owned(), std::borrow::Cow::into_owned)
    }

    fn info(&self, own: &Log, origin: Option<&Stream>, now: Option<Now>) -> StreamSourceInfo {
        let elapsed = self.active.zip(now).map(|(at, now)| now.mono.as_ns().saturating_sub(at.as_ns()));
        StreamSourceInfo {
            name: self.source.name.clone(),
            external: None,
            lag: origin.map_or(0, |origin| origin.log.count_matching(&self.filters, self.next(own, origin))),
            seq: self.position.seq,
            active_ns: elapsed.map_or(-1, |ns| i64::try_from(ns).unwrap_or(i64::MAX)),
            error: origin.is_none().then(stream_not_found),
            filter_subject: self.source.filter_subject.clone(),
            subject_transforms: self.source.subject_transforms.clone(),
        }
    }
}

/// What the header of a copy says: the key of its source, and the position it stands for.
pub(super) fn parse_header(value: &str, at: u64) -> Option<(String, Position)> {
    let mut fields = value.split(' ');
    let (name, seq, taken, given) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (_, origin) = (fields.next()?, fields.next()?);
    let position = Position { origin: origin.to_owned(), seq: seq.parse().ok()?, at };
    Some((format!("{name} {taken} {given}"), position))
}

impl Stream {
    /// Which of the streams that had its name it is.
    pub(super) fn identity(&self) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut left = self.created_ns;
        let digits = (0..8).map(|_| {
            let digit = usize::try_from(left % 62).unwrap_or(0);
            left /= 62;
            char::from(DIGITS[digit])
        });
        digits.collect()
    }

    /// Takes up positions, where they are further than what is known.
    pub(super) fn resume(&mut self, positions: &BTreeMap<String, Position>) {
        for own in &mut self.upstreams {
            if let Some(position) = positions.get(&own.key)
                && (own.position.at, own.position.seq) < (position.at, position.seq)
            {
                own.position = position.clone();
            }
        }
    }

    /// The positions of its sources that have one.
    pub(super) fn positions(&self) -> BTreeMap<String, Position> {
        let begun = self.upstreams.iter().filter(|own| own.position.seq > 0);
        begun.map(|own| (own.key.clone(), own.position.clone())).collect()
    }

    /// The end of the log was lost, and with it the copies there: they are made again.
    pub(super) fn rewind_copies(&mut self, last_seq: u64, view: &dyn View) -> Result<(), Halt> {
        if self.upstreams.is_empty() {
            return Ok(());
        }
        for own in &mut self.upstreams {
            own.looked = (0, 0);
            if own.position.at > last_seq {
                own.position = Position::default();
            }
        }
        let mut copies = BTreeMap::new();
        if self.is_durable() {
            record::scan_rows(view, &self.config.name, 0, &mut |row| {
                if row.seq > last_seq {
                    return ControlFlow::Break(());
                }
                note_copy(&mut copies, &row.header_block(), row.seq);
                ControlFlow::Continue(())
            })?;
        }
        self.bodies.values().for_each(|own| note_copy(&mut copies, &own.headers, own.seq));
        self.resume(&copies);
        Ok(())
    }

    /// Whether a position is known from nothing but the stream's row.
    pub(super) fn has_lost_copies(&self) -> bool {
        self.upstreams.iter().any(|own| own.position.seq > 0 && !self.log.contains(own.position.at))
    }
}

/// What becomes of a message that could be copied.
enum Copied {
    Stored {
        rollup: Option<Rollup>,
    },
    /// It takes no place: nobody is interested, or it is there already.
    Dropped,
    NoRoom,
}

impl JetStream {
    /// Finds out again who copies from whom, and lets everybody look.
    pub(super) fn connect_copiers(&mut self) {
        self.copiers.clear();
        for (name, stream) in &self.streams {
            for own in &stream.upstreams {
                self.copiers.entry(own.source.name.as_str().into()).or_default().insert(name.clone());
                self.copying.insert(name.clone());
            }
        }
    }

    /// A stream has changed: those that copy from it have something to do.
    pub(super) fn note_copiers(&mut self, origin: &str) {
        if let Some(copiers) = self.copiers.get(origin) {
            self.copying.extend(copiers.iter().cloned());
        }
    }

    /// How a stream's copying goes.
    pub(super) fn source_infos(&self, stream: &Stream) -> (Option<StreamSourceInfo>, Vec<StreamSourceInfo>) {
        let (mut mirror, mut sources) = (None, Vec::new());
        for own in &stream.upstreams {
            let origin = self.streams.get(own.source.name.as_str());
            let info = own.info(&stream.log, origin, self.clock);
            if own.is_mirror {
                mirror = Some(info);
            } else {
                sources.push(info);
            }
        }
        (mirror, sources)
    }

    /// Copies what is due, up to a bound. What this step stores cannot be read in it: it is copied on in the next turn.
    pub(super) fn on_copies_due(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        let mut budget = self.limits.deliveries_per_step_max;
        let mut grown = BTreeSet::new();
        for name in std::mem::take(&mut self.copying) {
            let count = self.streams.get(&name).map_or(0, |stream| stream.upstreams.len());
            for nth in 0..count {
                self.copy_from(now, &name, nth, &mut budget, &mut grown, cx)?;
            }
        }
        Ok(())
    }

    fn copy_from(
        &mut self,
        now: Now,
        name: &Arc<str>,
        nth: usize,
        budget: &mut usize,
        grown: &mut BTreeSet<Arc<str>>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let origin_name = self.streams[name].upstreams[nth].source.name.clone();
        loop {
            let Some((origin_name, origin)) = self.streams.get_key_value(origin_name.as_str()) else {
                return Ok(());
            };
            let own = &self.streams[name];
            if own.is_closed {
                return Ok(());
            }
            let upstream = &own.upstreams[nth];
            let next = upstream.next(&own.log, origin);
            let found = origin.log.next_matching(&upstream.filters, next);
            let end = (origin.created_ns, origin.log.last_seq());
            let origin_name = origin_name.clone();
            let Some(seq) = found else {
                self.rest(now, name, nth, end, cx);
                return Ok(());
            };
            if *budget == 0 || grown.contains(&origin_name) {
                self.copying.insert(name.clone());
                return Ok(());
            }
            *budget -= 1;
            let message = keep::read_message(&origin.config, &origin.bodies, cx.view(), seq)?;
            let is_queue = origin.config.retention == Retention::Workqueue;
            if matches!(self.copy(now, name, nth, message, cx), Copied::NoRoom) {
                return Ok(());
            }
            grown.insert(name.clone());
            if is_queue {
                self.remove_messages(now, &origin_name, &[seq], cx);
            }
        }
    }

    /// Nothing is left to copy. An empty mirror begins where its origin does.
    fn rest(
        &mut self,
        now: Now,
        name: &Arc<str>,
        nth: usize,
        end: (u64, u64),
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let upstream = &mut stream.upstreams[nth];
        upstream.active = Some(now.mono);
        upstream.looked = end;
        let is_empty = upstream.is_mirror && upstream.filters.is_everything() && stream.log.last_seq() == 0;
        if is_empty && end.1 > 0 {
            stream.log.move_last(end.1, None);
            stream.stage(cx);
        }
    }

    /// Stores a copy of a message.
    fn copy(
        &mut self,
        now: Now,
        name: &Arc<str>,
        nth: usize,
        message: StoredMessage,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Copied {
        let stream = &self.streams[name];
        let upstream = &stream.upstreams[nth];
        let origin = &self.streams[upstream.source.name.as_str()];
        let (is_mirror, seq, identity) = (upstream.is_mirror, message.seq, origin.identity());
        let header = upstream.header(origin, &message);
        let mut subject = upstream.rewritten(&message.subject);
        if let Some(transformed) = stream.rules.transformed(&subject) {
            subject = transformed;
        }
        let mut headers = message.headers;
        if !is_mirror {
            headers.remove(STREAM_SOURCE);
            headers.remove_prefixed("Nats-Expected-");
            headers.append(STREAM_SOURCE, &header);
        }
        let asked_of = headers.clone();
        let asked = Directives::of(&asked_of);
        let publish = Publish { subject, reply: None, headers, payload: message.payload };
        let copied = judge(stream, &publish, &asked, is_mirror, now);
        let stored_at = if is_mirror { message.stored_at } else { now.wall };
        match copied {
            Copied::NoRoom => return Copied::NoRoom,
            Copied::Stored { .. } => {
                let life = Life::of(&asked_of, stored_at);
                let Publish { subject, headers, payload, reply: _ } = publish;
                let seq = is_mirror.then_some(seq);
                let msg_id = asked.msg_id;
                self.store(name, Arrival { subject, headers, payload, msg_id, life, seq, stored_at }, cx);
            }
            Copied::Dropped => {}
        }
        let Some(stream) = self.streams.get_mut(name) else { return copied };
        let is_dropped = matches!(copied, Copied::Dropped);
        if is_dropped && is_mirror {
            stream.log.move_last(seq, Some(stored_at));
        }
        let at = stream.log.last_seq();
        let upstream = &mut stream.upstreams[nth];
        upstream.active = Some(now.mono);
        if !is_mirror {
            upstream.position = Position { origin: identity, seq, at };
        }
        if is_dropped {
            stream.stage(cx);
        }
        if let Copied::Stored { rollup } = &copied {
            let rollup = *rollup;
            self.make_room(now, name, rollup, at, cx);
        }
        self.arm_stream(now, name);
        copied
    }
}

fn judge(stream: &Stream, publish: &Publish, asked: &Directives<'_>, is_mirror: bool, now: Now) -> Copied {
    let window_ns = stream.config.duplicate_window_ns;
    let is_known = || asked.msg_id.and_then(|id| stream.ids.seen(id, now.wall, window_ns)).is_some();
    if !stream.is_wanted(&publish.subject) || (!is_mirror && is_known()) {
        return Copied::Dropped;
    }
    let rollup = check_rollup(&stream.config, asked).ok().flatten();
    if check_room(stream, publish, rollup, &Staged::default()).is_err() {
        return Copied::NoRoom;
    }
    Copied::Stored { rollup }
}

/// The positions that the copies among some messages stand for; later ones count.
pub(super) fn note_copy(positions: &mut BTreeMap<String, Position>, headers: &HeaderBlock, at: u64) {
    let value = headers.text(STREAM_SOURCE).and_then(|value| parse_header(value, at));
    positions.extend(value);
}
