//! Direct gets: reads that any replica may answer, with the messages themselves and no JSON around them.
//!
//! ```text
//!  seq, next_by_subj, start_time   ─► one message, or a batch of the following ones that match
//!  last_by_subj                    ─► one message
//!  multi_last                      ─► the last message of every subject, as of a sequence or a time
//! ```
//!
//! Several messages end with a status that says where the client goes on. One answer has at most [`BATCH_MAX`] messages
//! and [`BYTES_MAX`] bytes, whatever was asked for. Nobody listens where the stream does not allow direct gets, or is not
//! there.

use super::api::MessageGet;
use super::log::Filters;
use super::requests::MessageBy;
use super::stream::Stream;
use super::{Answer, Effect, Input, JetStream, StoredMessage, keep};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::wire::header_block::HeaderBlock;
use crate::wire::headers::Headers;
use crate::wire::subject::Filter;

/// Most messages of one answer, and most subjects it may be asked for.
const BATCH_MAX: usize = 1024;
/// Most bytes of one answer: the message that passes them is the last.
const BYTES_MAX: u64 = 64 << 20;

/// A message on its way to somebody who asked for it directly.
#[derive(Clone, PartialEq, Debug)]
pub struct DirectMessage {
    /// Its stream.
    pub stream: String,
    /// The message.
    pub message: StoredMessage,
    /// Its place among several.
    pub place: Option<DirectPlace>,
    /// The client wants no headers.
    pub no_hdr: bool,
}

/// The place of a message among several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectPlace {
    /// How many come after it.
    pub num_pending: u64,
    /// The sequence of the one before it; 0 for the first.
    pub last_seq: u64,
}

/// What is said instead of a message, or after the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirectStatus {
    /// There is no such message.
    NotFound,
    /// No subject has a message.
    NoResults,
    /// Too many subjects have one.
    TooManyResults,
    /// The request asks for nothing.
    EmptyRequest,
    /// The request asks for what does not go together.
    BadRequest,
    /// The request cannot be read.
    MalformedRequest,
    /// These were all.
    EndOfBatch {
        /// How many there are beyond.
        num_pending: u64,
        /// The sequence of the last one.
        last_seq: u64,
        /// As of which sequence.
        up_to_seq: Option<u64>,
    },
}

impl DirectStatus {
    /// The number in the status line.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::NotFound | Self::NoResults => 404,
            Self::TooManyResults => 413,
            Self::EmptyRequest | Self::BadRequest | Self::MalformedRequest => 408,
            Self::EndOfBatch { .. } => 204,
        }
    }

    /// The text in the status line.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self {
            Self::NotFound => "Message Not Found",
            Self::NoResults => "No Results",
            Self::TooManyResults => "Too Many Results",
            Self::EmptyRequest => "Empty Request",
            Self::BadRequest => "Bad Request",
            Self::MalformedRequest => "Malformed Request",
            Self::EndOfBatch { .. } => "EOB",
        }
    }

    /// The headers after the status line.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let mut headers = Headers::default();
        if let Self::EndOfBatch { num_pending, last_seq, up_to_seq } = self {
            headers.append("Nats-Num-Pending", &num_pending.to_string());
            headers.append("Nats-Last-Sequence", &last_seq.to_string());
            if let Some(up_to_seq) = up_to_seq {
                headers.append("Nats-UpTo-Sequence", &up_to_seq.to_string());
            }
        }
        headers
    }
}

impl DirectMessage {
    /// The headers it is sent with: its own, where and when it is stored, and its place.
    #[must_use]
    pub fn headers(&self) -> HeaderBlock {
        if self.no_hdr {
            return HeaderBlock::NONE;
        }
        let StoredMessage { seq, subject, headers, stored_at, .. } = &self.message;
        let (seq, at) = (seq.to_string(), stored_at.rfc3339());
        let numbers = self.place.map(|own| (own.num_pending.to_string(), own.last_seq.to_string()));
        let mut added = vec![
            ("Nats-Stream", self.stream.as_str()),
            ("Nats-Subject", subject),
            ("Nats-Sequence", &seq),
            ("Nats-Time-Stamp", &at),
        ];
        if let Some((num_pending, last_seq)) = &numbers {
            added.extend([("Nats-Num-Pending", num_pending.as_str()), ("Nats-Last-Sequence", last_seq)]);
        }
        let mut headers = headers.clone();
        headers.append_all(&added);
        headers
    }
}

impl From<MessageBy> for MessageGet {
    fn from(by: MessageBy) -> Self {
        let none = Self::default();
        match by {
            MessageBy::Seq(seq) => Self { seq, ..none },
            MessageBy::LastBySubject(last_by_subj) => Self { last_by_subj, ..none },
            MessageBy::NextBySubject { subject, seq } => Self { next_by_subj: subject, seq, ..none },
            MessageBy::NextByTime { subject, start } => {
                Self { next_by_subj: subject.unwrap_or_default(), start_time: Some(start), ..none }
            }
        }
    }
}

impl MessageGet {
    /// The one message it asks for.
    ///
    /// # Errors
    /// When it asks for none, for several, or for what does not go together.
    pub fn by(&self) -> Result<MessageBy, DirectStatus> {
        let Self { seq, last_by_subj, next_by_subj, start_time, .. } = self;
        let is_last = !last_by_subj.is_empty();
        if *seq == 0 && !is_last && next_by_subj.is_empty() && start_time.is_none() {
            return Err(DirectStatus::EmptyRequest);
        }
        if self.batch > 0 || !self.multi_last.is_empty() || (*seq > 0 && start_time.is_some()) {
            return Err(DirectStatus::BadRequest);
        }
        if is_last && (*seq > 0 || !next_by_subj.is_empty() || start_time.is_some()) {
            return Err(DirectStatus::BadRequest);
        }
        Ok(if is_last {
            MessageBy::LastBySubject(last_by_subj.clone())
        } else if let Some(start) = start_time {
            let subject = (!next_by_subj.is_empty()).then(|| next_by_subj.clone());
            MessageBy::NextByTime { subject, start: *start }
        } else if next_by_subj.is_empty() {
            MessageBy::Seq(*seq)
        } else {
            MessageBy::NextBySubject { subject: next_by_subj.clone(), seq: *seq }
        })
    }
}

/// The messages of an answer.
struct Found {
    seqs: Vec<u64>,
    /// How many there are, these and those beyond.
    total: u64,
    up_to_seq: Option<u64>,
}

impl JetStream {
    pub(super) fn get_directly(
        &self,
        name: &str,
        reply: &str,
        get: &MessageGet,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let mut say = |answer| cx.emit(Effect::Reply { to: reply.to_owned(), answer });
        let Some(stream) = self.streams.get(name).filter(|own| own.config.allow_direct && !own.is_closed)
        else {
            say(Answer::NoResponders { subject: format!("$JS.API.DIRECT.GET.{name}") });
            return Ok(());
        };
        let is_several = get.batch > 0 || !get.multi_last.is_empty();
        let found =
            if get.multi_last.is_empty() { self.find(name, stream, get) } else { last_of_each(stream, get) };
        let found = match found {
            Ok(found) => found,
            Err(status) => {
                say(Answer::DirectStatus(status));
                return Ok(());
            }
        };
        let Found { seqs, total, up_to_seq } = found;
        let bytes_max = if get.max_bytes == 0 { BYTES_MAX } else { get.max_bytes.min(BYTES_MAX) };
        let (mut num_pending, mut last_seq, mut bytes) = (total, 0, 0);
        for seq in seqs {
            if bytes >= bytes_max {
                break;
            }
            num_pending -= 1;
            let message = keep::read_message(&stream.config, &stream.bodies, cx.view(), seq)?;
            bytes += (message.subject.len() + message.headers.len() + message.payload.len()) as u64;
            let place = is_several.then_some(DirectPlace { num_pending, last_seq });
            let message = DirectMessage { stream: name.to_owned(), message, place, no_hdr: get.no_hdr };
            cx.emit(Effect::Reply { to: reply.to_owned(), answer: Answer::Direct(Box::new(message)) });
            last_seq = seq;
        }
        if is_several {
            let status = DirectStatus::EndOfBatch { num_pending, last_seq, up_to_seq };
            cx.emit(Effect::Reply { to: reply.to_owned(), answer: Answer::DirectStatus(status) });
        }
        Ok(())
    }

    /// A message, or a batch that begins with it.
    fn find(&self, name: &str, stream: &Stream, get: &MessageGet) -> Result<Found, DirectStatus> {
        let one = |seq| Found { seqs: vec![seq], total: 1, up_to_seq: None };
        if get.batch == 0 {
            let found = self.find_message(name, &get.by()?);
            return found.map(|(_, seq)| one(seq)).map_err(|_| DirectStatus::NotFound);
        }
        let log = &stream.log;
        let first = MessageGet { batch: 0, ..get.clone() }.by()?;
        let (subject, from) = match first {
            MessageBy::LastBySubject(_) => return Err(DirectStatus::BadRequest),
            MessageBy::Seq(seq) => (None, Some(seq)),
            MessageBy::NextBySubject { subject, seq } => (Some(subject), Some(seq)),
            MessageBy::NextByTime { subject, start } => (subject, log.first_since(start)),
        };
        let filter = subject.map(|subject| Filter::parse(&subject)).transpose();
        let filters = filter.map_err(|_| DirectStatus::NotFound)?;
        let filters = filters.map_or_else(Filters::default, |filter| Filters::new(vec![filter]));
        let mut next = from.and_then(|from| log.next_matching(&filters, from));
        let total = next.map_or(0, |from| log.count_matching(&filters, from));
        let (mut seqs, max) = (Vec::new(), usize::try_from(get.batch).unwrap_or(BATCH_MAX).min(BATCH_MAX));
        while let Some(seq) = next.filter(|_| seqs.len() < max) {
            seqs.push(seq);
            next = log.next_matching(&filters, seq + 1);
        }
        if seqs.is_empty() { Err(DirectStatus::NotFound) } else { Ok(Found { seqs, total, up_to_seq: None }) }
    }
}

/// The last message of every subject, as of a sequence or a time.
fn last_of_each(stream: &Stream, get: &MessageGet) -> Result<Found, DirectStatus> {
    let log = &stream.log;
    let is_clear = get.last_by_subj.is_empty() && get.next_by_subj.is_empty();
    if !is_clear || (get.up_to_seq > 0 && get.up_to_time.is_some()) {
        return Err(DirectStatus::BadRequest);
    }
    let up_to_seq = match get.up_to_time {
        Some(time) => log.first_since(time).map_or(log.last_seq(), |seq| seq - 1),
        None if get.up_to_seq > log.last_seq() => return Err(DirectStatus::NoResults),
        None if get.up_to_seq > 0 => get.up_to_seq,
        None => log.last_seq(),
    };
    let filters: Vec<Filter> = get.multi_last.iter().filter_map(|own| Filter::parse(own).ok()).collect();
    let matching = log.subjects().filter(|(subject, _)| filters.iter().any(|filter| filter.matches(subject)));
    let last = matching.filter_map(|(_, seqs)| seqs.last_until(up_to_seq));
    let mut seqs: Vec<u64> = last.filter(|seq| *seq >= get.seq).collect();
    if seqs.len() > BATCH_MAX {
        return Err(DirectStatus::TooManyResults);
    }
    if seqs.is_empty() {
        return Err(DirectStatus::NoResults);
    }
    seqs.sort_unstable();
    let total = seqs.len() as u64;
    if get.batch > 0 {
        seqs.truncate(usize::try_from(get.batch).unwrap_or(BATCH_MAX));
    }
    Ok(Found { seqs, total, up_to_seq: Some(up_to_seq) })
}
