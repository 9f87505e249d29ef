//! INV-BRK-1 and INV-BRK-2 against the tables.
//!
//! What is cheap is checked for everybody. What takes a walk through a log is checked for one stream, one message and one
//! consumer a time, chosen by how far things have come, so that a run comes round to all of them.

use super::JetStream;
use super::alarm::Owner;
use super::consumer::{Consumer, Wait};
use super::record;
use super::stream::Stream;
use crate::halt::Halt;
use crate::invariant;
use crate::store::{Table, View};

impl JetStream {
    pub(super) fn check_invariants(&self, view: &dyn View) -> Result<(), Halt> {
        let progress: u64 = self.streams.values().map(|stream| stream.log.last_seq()).sum();
        let captured: usize = self.streams.values().map(|stream| stream.rules.subjects.len()).sum();
        invariant!(
            self.captures.len() == captured,
            Brk1,
            "an index of {} for {captured}",
            self.captures.len()
        );
        for (name, stream) in &self.streams {
            check_log(name, stream, view)?;
            for (consumer, own) in &stream.consumers {
                check_consumer(&format!("{name}/{consumer}"), stream, own)?;
            }
        }
        if let Some((name, stream)) = pick(self.streams.iter(), progress) {
            check_whole_log(name, stream, view, progress)?;
            // Before it woke up, a consumer is nothing but its row.
            if self.clock.is_some()
                && let Some((consumer, own)) = pick(stream.consumers.iter(), progress)
            {
                let counted = own.never_delivered(&stream.log);
                invariant!(
                    own.num_pending == counted,
                    Brk2,
                    "{name}/{consumer} counts {} never delivered, but {counted} are",
                    own.num_pending
                );
            }
        }
        if self.clock.is_some() { self.check_alarms() } else { Ok(()) }
    }

    /// Whoever waits has an alarm, and nobody else.
    fn check_alarms(&self) -> Result<(), Halt> {
        for owner in self.alarms.owners() {
            let exists = match owner {
                Owner::Stream(name) => self.streams.contains_key(name),
                Owner::Consumer(key) => {
                    self.streams.get(&key.stream).is_some_and(|own| own.consumers.contains_key(&key.consumer))
                }
                Owner::Archive(id) => self.archives.contains(id),
            };
            invariant!(exists, Brk2, "an alarm for {owner:?}, which is not there");
        }
        for (name, stream) in &self.streams {
            for (consumer, own) in &stream.consumers {
                let key = super::ConsumerKey { stream: name.clone(), consumer: consumer.clone() };
                let (due, alarm) = (own.next_due(), self.alarms.get(&Owner::Consumer(key)));
                invariant!(due == alarm, Brk2, "{name}/{consumer} is due {due:?}, its alarm is {alarm:?}");
                invariant!(
                    own.changed == own.flush_due.is_some(),
                    Brk2,
                    "{name}/{consumer} changed without a flush to come, or the other way round"
                );
            }
        }
        Ok(())
    }
}

/// One of them, another one each time.
fn pick<T>(mut all: impl ExactSizeIterator<Item = T>, progress: u64) -> Option<T> {
    let nth = usize::try_from(progress % (all.len().max(1) as u64)).unwrap_or(0);
    all.nth(nth)
}

fn check_log(name: &str, stream: &Stream, view: &dyn View) -> Result<(), Halt> {
    let log = &stream.log;
    let (first, last) = (log.first_seq(), log.last_seq());
    invariant!(first <= last + 1, Brk1, "stream {name} begins at {first} and ends at {last}");
    let newest = log.iter().next_back();
    invariant!(
        newest.is_none_or(|(seq, _)| seq <= last),
        Brk1,
        "stream {name} ends at {last}, but holds {newest:?}"
    );
    for (seq, is_stored) in [(first, log.len() > 0), (last, log.contains(last))] {
        if is_stored {
            check_message(name, stream, view, seq)?;
        }
    }
    Ok(())
}

fn check_message(name: &str, stream: &Stream, view: &dyn View, seq: u64) -> Result<(), Halt> {
    let is_kept = if stream.is_durable() {
        view.get(Table::JsMessage, &record::message_key(name, seq))?.is_some()
    } else {
        stream.bodies.contains_key(&seq)
    };
    invariant!(is_kept, Brk1, "message {seq} of stream {name} is in the index and has no body");
    Ok(())
}

fn check_whole_log(name: &str, stream: &Stream, view: &dyn View, progress: u64) -> Result<(), Halt> {
    let log = &stream.log;
    let bytes: u64 = log.iter().map(|(_, meta)| log.bytes_of(meta)).sum();
    invariant!(bytes == log.bytes(), Brk1, "stream {name} holds {bytes} bytes and counts {}", log.bytes());
    let by_subject: usize = log.subjects().map(|(_, seqs)| seqs.len()).sum();
    invariant!(by_subject == log.len(), Brk1, "stream {name}: {by_subject} of {} have a subject", log.len());
    if let Some(nth) = usize::try_from(progress).ok().and_then(|progress| progress.checked_rem(log.len()))
        && let Some((seq, _)) = log.iter().nth(nth)
    {
        check_message(name, stream, view, seq)?;
    }
    let bodies = stream.bodies.len();
    let expected = if stream.is_durable() { 0 } else { log.len() };
    invariant!(bodies == expected, Brk1, "stream {name} holds {bodies} bodies for {} messages", log.len());
    for (id, seq) in stream.ids.iter() {
        invariant!(
            seq <= log.last_seq(),
            Brk1,
            "stream {name}: id {id:?} names {seq}, which was never stored"
        );
    }
    Ok(())
}

fn check_consumer(name: &str, stream: &Stream, own: &Consumer) -> Result<(), Halt> {
    let (delivered, floor) = (own.delivered(), own.floor);
    invariant!(
        floor.stream_seq <= delivered.stream_seq && floor.consumer_seq <= delivered.consumer_seq,
        Brk2,
        "{name}: floor {floor:?} is above the last delivery {delivered:?}"
    );
    let mut queued = 0;
    for (seq, pending) in &own.pending {
        invariant!(
            stream.log.contains(*seq) && *seq <= delivered.stream_seq && *seq > floor.stream_seq,
            Brk2,
            "{name}: {seq} is pending, floor {floor:?}, last delivery {delivered:?}"
        );
        let is_listed = match pending.wait {
            Wait::Until(at) => own.due.contains(&(at, *seq)),
            Wait::Queued(place) => {
                queued += 1;
                own.queue.get(&place) == Some(seq)
            }
        };
        invariant!(is_listed, Brk2, "{name}: {seq} waits for nothing: {pending:?}");
    }
    invariant!(
        own.due.len() + queued == own.pending.len() && own.queue.len() == queued,
        Brk2,
        "{name}: {} pending, {} waiting, {} queued",
        own.pending.len(),
        own.due.len(),
        own.queue.len()
    );
    let gone = own.exhausted.iter().find(|seq| !stream.log.contains(**seq) || own.pending.contains_key(*seq));
    invariant!(gone.is_none(), Brk2, "{name}: {gone:?} is exhausted, but pending or gone");
    Ok(())
}
