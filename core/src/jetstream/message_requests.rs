//! The API, continued: requests about single messages.

use super::api::ApiError;
use super::error::{error, no_message_found, sealed};
use super::log::Filters;
use super::requests::{Answered, MessageBy};
use super::stream::Stream;
use super::{Answer, Effect, Input, JetStream};
use crate::cx::Cx;
use crate::time::Now;
use crate::wire::subject::Filter;

impl JetStream {
    pub(super) fn find_message(&self, stream: &str, by: &MessageBy) -> Result<(&Stream, u64), ApiError> {
        let (_, stream) = self.stream_of(stream)?;
        let log = &stream.log;
        // What is no subject is a subject nothing is stored on.
        let filter = |subject: &str| Filter::parse(subject).map_err(|_| no_message_found());
        let filters = |subject: &str| filter(subject).map(|filter| Filters::new(vec![filter]));
        let found = match by {
            MessageBy::Seq(seq) => log.contains(*seq).then_some(*seq),
            // The server takes this for the last sequence, whether or not there is still a message.
            MessageBy::LastBySubject(subject) if subject == ">" => {
                Some(log.last_seq()).filter(|seq| log.contains(*seq))
            }
            MessageBy::LastBySubject(subject) => log.last_matching(&filter(subject)?),
            MessageBy::NextBySubject { subject, seq } => log.next_matching(&filters(subject)?, *seq),
            MessageBy::NextByTime { subject, start } => {
                let filters = subject.as_deref().map(filters).transpose()?.unwrap_or_default();
                log.first_since(*start).and_then(|from| log.next_matching(&filters, from))
            }
        };
        found.map(|seq| (stream, seq)).ok_or_else(no_message_found)
    }

    pub(super) fn delete_message(
        &mut self,
        now: Now,
        stream: &str,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let (name, own) = self.stream_of(stream)?;
        let failed = |why: &str| Err(error(500, 10_057, why));
        if own.config.sealed {
            return Err(sealed());
        }
        if own.config.deny_delete {
            return failed("message delete not permitted");
        }
        // A memory store only says that it is not there; one on disk, of what is missing between others.
        let is_between = seq > 0 && seq >= own.log.first_seq() && seq <= own.log.last_seq();
        if (is_between || !own.is_durable()) && !own.log.contains(seq) {
            return Err(error(400, 10_043, format!("sequence {seq} not found")));
        }
        if seq > own.log.last_seq() {
            return failed("stream store EOF");
        }
        if self.remove_messages(now, &name, &[seq], cx) == 0 {
            return failed("no message found");
        }
        Ok(Answer::MessageDeleted)
    }
}
