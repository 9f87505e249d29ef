//! Direct gets: reads that any replica may answer, with the message itself and no JSON around it.
//!
//! Nobody listens for them where the stream does not allow them, or is not there.

use super::requests::MessageBy;
use super::{Answer, JetStream, StoredMessage, keep};
use crate::halt::Halt;
use crate::store::View;
use crate::wire::header_block::HeaderBlock;

impl StoredMessage {
    /// The headers of the answer to a direct get: its own, and where and when it is stored.
    #[must_use]
    pub fn direct_headers(&self, stream: &str) -> HeaderBlock {
        let mut headers = self.headers.clone();
        headers.append("Nats-Stream", stream);
        headers.append("Nats-Subject", &self.subject);
        headers.append("Nats-Sequence", &self.seq.to_string());
        headers.append("Nats-Time-Stamp", &self.stored_at.rfc3339());
        headers
    }
}

impl JetStream {
    pub(super) fn get_directly(&self, stream: &str, by: &MessageBy, view: &dyn View) -> Result<Answer, Halt> {
        if self.streams.get(stream).is_none_or(|own| !own.config.allow_direct) {
            return Ok(Answer::NoResponders { subject: format!("$JS.API.DIRECT.GET.{stream}") });
        }
        let Ok((own, seq)) = self.find_message(stream, by) else { return Ok(Answer::NotFoundDirectly) };
        let message = keep::read_message(&own.config, &own.bodies, view, seq)?;
        Ok(Answer::Direct { stream: stream.to_owned(), message: Box::new(message) })
    }
}
