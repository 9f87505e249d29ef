//! What a client wants of JetStream, by the subject it published on.
//!
//! ```text
//!  $JS.API.…            a call of the API          (also $JS.<domain>.API.…)
//!  $JS.ACK.…            an answer to a delivery
//!  $JS.FC.…             an answer to a flow control request
//!  $JS.SNAPSHOT.…       a chunk of a snapshot was received, a piece of an archive to restore
//!  anything else        a message for the stream that captures it
//! ```

use super::decode;
use crate::jetstream::api::ApiError;
use crate::jetstream::{self, AckKind, AckSubject, JetStream, Request};
use crate::nats::Publish;
use crate::wire::header_block::HeaderBlock;

/// Which call of the API, as far as its answer depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Api {
    AccountInfo,
    StreamCreate,
    StreamUpdate,
    StreamInfo,
    StreamDelete,
    StreamPurge,
    StreamNames,
    StreamList,
    StreamSnapshot,
    StreamRestore,
    StreamStepdown,
    StreamPeerRemove,
    MessageGet,
    MessageDelete,
    ConsumerCreate,
    ConsumerInfo,
    ConsumerDelete,
    ConsumerPause,
    ConsumerReset,
    ConsumerUnpin,
    ConsumerStepDown,
    ConsumerNames,
    ConsumerList,
    /// A pull or a direct get: answered without an envelope.
    Bare,
}

/// What a message for JetStream is.
pub(super) enum Call {
    /// A publish into a stream, an ack.
    Engine(jetstream::Input),
    /// A call of the API, or why it cannot be one.
    Api { api: Api, request: Result<jetstream::Input, ApiError> },
    /// A direct get that cannot be read.
    Malformed { stream: String },
    /// Nobody answers there.
    Ignored,
}

const API: &str = "$JS.API.";
const ACK: &str = "$JS.ACK.";
const FLOW_CONTROL: &str = "$JS.FC.";
const SNAPSHOT: &str = "$JS.SNAPSHOT.";

/// The part of an API subject behind its prefix.
fn api_of<'s>(domain: Option<&str>, subject: &'s str) -> Option<&'s str> {
    subject.strip_prefix(API).or_else(|| {
        let own = subject.strip_prefix("$JS.")?.strip_prefix(domain?)?;
        own.strip_prefix(".API.")
    })
}

/// Where the push consumer or the snapshot delivers that a call is about to create or change, and to which queue group.
pub(super) fn deliver_subject(input: &jetstream::Input) -> Option<(String, Option<String>)> {
    let jetstream::Input::Requested { request, .. } = input else { return None };
    if let Request::StreamSnapshot { asked, .. } = request {
        return Some((asked.deliver_subject.clone(), None));
    }
    let Request::ConsumerCreate { config, .. } = request else { return None };
    let group = config.deliver_group.clone().filter(|group| !group.is_empty());
    config.deliver_subject.clone().map(|subject| (subject, group))
}

/// Whether JetStream wants what is published on a subject.
pub(super) fn is_wanted(engine: &JetStream, domain: Option<&str>, subject: &[u8]) -> bool {
    let Ok(subject) = std::str::from_utf8(subject) else { return false };
    let is_own = subject.starts_with("$JS.")
        && (subject.starts_with(ACK)
            || subject.starts_with(FLOW_CONTROL)
            || archive_of(subject).is_some()
            || api_of(domain, subject).is_some());
    is_own || engine.captures(subject)
}

/// Whether a message is an ack, and the snapshot or the restore it belongs to.
fn archive_of(subject: &str) -> Option<(bool, &str)> {
    let tokens: Vec<&str> = subject.strip_prefix(SNAPSHOT)?.splitn(5, '.').collect();
    match tokens[..] {
        ["ACK", _, id, _, _] => Some((true, id)),
        ["RESTORE", _, id] => Some((false, id)),
        _ => None,
    }
}

/// Reads what a client wants.
pub(super) fn read(domain: Option<&str>, publish: &Publish) -> Call {
    // What is not text is not wanted.
    let Ok(subject) = std::str::from_utf8(&publish.subject) else { return Call::Ignored };
    let reply = publish.reply.as_deref().map(|reply| String::from_utf8_lossy(reply).into_owned());
    if subject.starts_with("$JS.") {
        if let Some(call) = api_of(domain, subject) {
            return decode::decode(call, reply, publish);
        }
        if let Some(delivery) = AckSubject::parse(subject) {
            let kind = AckKind::parse(&publish.payload);
            return Call::Engine(jetstream::Input::Acked { delivery, kind, reply });
        }
        if let Some((is_ack, id)) = archive_of(subject) {
            let id = id.to_owned();
            return Call::Engine(if is_ack {
                jetstream::Input::SnapshotAcked { snapshot: id, reply }
            } else {
                let payload = publish.payload.clone();
                jetstream::Input::RestoreChunk { restore: id, reply, payload }
            });
        }
        if let Some(rest) = subject.strip_prefix(FLOW_CONTROL) {
            let mut tokens = rest.split('.').map(str::to_owned);
            return match (tokens.next(), tokens.next(), tokens.next()) {
                (Some(stream), Some(consumer), Some(token)) => {
                    Call::Engine(jetstream::Input::FlowControlled { stream, consumer, token })
                }
                (None | Some(_), None | Some(_), None | Some(_)) => Call::Ignored,
            };
        }
    }
    Call::Engine(jetstream::Input::Published(jetstream::Publish {
        subject: subject.to_owned(),
        reply,
        headers: HeaderBlock::from_wire(publish.headers.clone()),
        payload: publish.payload.clone(),
    }))
}
