//! The API, continued: lists, a page at a time, and what the account uses.

use super::api::{AccountInfo, AccountLimits, Page, Paging, Storage, StreamInfo};
use super::requests::Answered;
use super::stream::Stream;
use super::{Answer, JetStream};
use crate::wire::subject::Filter;
use std::sync::Arc;

/// Most names in one answer.
const NAMES_PER_PAGE: u64 = 1024;
/// Most descriptions in one answer.
const INFOS_PER_PAGE: u64 = 256;
/// The level of the API that is whole here: level 2 has counters that add up those of other streams.
pub const API_LEVEL: u8 = 1;

/// The items of a page; an offset beyond the end is the end.
pub(super) fn page<T>(all: impl Iterator<Item = T>, offset: u64, limit: u64) -> Page<T> {
    let (mut total, mut items) = (0, Vec::new());
    for item in all {
        if total >= offset && (items.len() as u64) < limit {
            items.push(item);
        }
        total += 1;
    }
    Page { paging: Paging { total, offset: offset.min(total), limit }, items }
}

impl JetStream {
    /// The streams that capture a subject; all, if none is given.
    fn capturing<'s>(&'s self, subject: Option<&str>) -> impl Iterator<Item = (&'s Arc<str>, &'s Stream)> {
        // What is no subject excludes nothing, as on the server.
        let filter = subject.and_then(|subject| Filter::parse(subject).ok());
        self.streams.iter().filter(move |(_, stream)| {
            filter.as_ref().is_none_or(|filter| stream.overlaps(std::slice::from_ref(filter)))
        })
    }

    pub(super) fn stream_names_page(&self, subject: Option<&str>, offset: u64) -> Answer {
        let names = self.capturing(subject).map(|(name, _)| name.to_string());
        Answer::StreamNames(page(names, offset, NAMES_PER_PAGE))
    }

    pub(super) fn stream_list_page(&self, subject: Option<&str>, offset: u64) -> Answer {
        let Page { paging, items } = page(self.capturing(subject), offset, INFOS_PER_PAGE);
        let items = items.into_iter().map(|(_, stream)| self.info(stream)).collect();
        Answer::Streams(Page { paging, items })
    }

    pub(super) fn consumer_names_page(&self, stream: &str, offset: u64) -> Answered {
        let (_, stream) = self.stream_of(stream)?;
        let names = stream.consumers.keys().map(ToString::to_string);
        Ok(Answer::ConsumerNames(page(names, offset, NAMES_PER_PAGE)))
    }

    pub(super) fn consumer_list_page(&self, stream: &str, offset: u64) -> Answered {
        let (_, stream) = self.stream_of(stream)?;
        let Page { paging, items } = page(stream.consumers.iter(), offset, INFOS_PER_PAGE);
        let now = self.clock.unwrap_or_default();
        let items = items.into_iter().map(|(consumer, own)| own.info(stream, consumer, now)).collect();
        Ok(Answer::Consumers(Page { paging, items }))
    }

    /// A stream as the API describes it now.
    pub(super) fn info(&self, stream: &Stream) -> StreamInfo {
        let mut info = stream.info(self.clock.map(|now| now.wall));
        if !stream.upstreams.is_empty() {
            (info.mirror, info.sources) = self.source_infos(stream);
        }
        info
    }

    pub(super) fn account_info(&self) -> AccountInfo {
        let of =
            |storage: Storage| self.streams.values().filter(move |stream| stream.config.storage == storage);
        let used = |storage| of(storage).map(|stream| stream.log.bytes()).sum();
        let reserved =
            |storage| of(storage).map(|stream| u64::try_from(stream.config.max_bytes).unwrap_or(0)).sum();
        AccountInfo {
            memory: used(Storage::Memory),
            storage: used(Storage::File),
            reserved_memory: reserved(Storage::Memory),
            reserved_storage: reserved(Storage::File),
            streams: self.streams.len() as u64,
            consumers: self.streams.values().map(|stream| stream.consumers.len() as u64).sum(),
            limits: AccountLimits::NONE,
            api: super::api::AccountApi { level: API_LEVEL, ..self.api },
        }
    }
}
