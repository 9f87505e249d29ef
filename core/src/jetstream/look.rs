//! Looking, for oracles, operators and the broker around it.

use super::api::{ConsumerInfo, StreamInfo};
use super::{JetStream, StoredMessage, record};
use crate::halt::Halt;
use crate::store::View;
use std::ops::ControlFlow;

impl JetStream {
    /// Whether a stream stores what is published on a subject.
    #[must_use]
    pub fn captures(&self, subject: &str) -> bool {
        self.captures.stream_of(subject).is_some()
    }

    /// Where messages go that somebody waits for: the inboxes of waiting pulls.
    pub fn inboxes(&self) -> impl Iterator<Item = &str> {
        let consumers = self.streams.values().flat_map(|stream| stream.consumers.values());
        consumers.flat_map(|own| own.pulls.inboxes())
    }

    /// The names of the streams, in order.
    pub fn stream_names(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(AsRef::as_ref)
    }

    /// A stream as the API describes it.
    #[must_use]
    pub fn stream(&self, stream: &str) -> Option<StreamInfo> {
        self.streams.get(stream).map(|stream| self.info(stream))
    }

    /// A consumer as the API describes it. After recovery its position is known from the first input on.
    #[must_use]
    pub fn consumer(&self, stream: &str, consumer: &str) -> Option<ConsumerInfo> {
        let stream = self.streams.get(stream)?;
        let now = self.clock.unwrap_or_default();
        stream.consumers.get_key_value(consumer).map(|(name, own)| own.info(stream, name, now))
    }

    /// The true log: what is stored in a file stream from a sequence on, in order, until `visit` breaks.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn log(
        view: &dyn View,
        stream: &str,
        from_seq: u64,
        visit: &mut dyn FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<(), Halt> {
        record::scan_messages(view, stream, from_seq, visit)
    }
}
