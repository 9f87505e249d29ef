//! What a stream's configuration says about subjects, parsed once.

use super::api::StreamConfig;
use super::log::Seqs;
use super::stream::Stream;
use super::transform::Transform;
use super::{Effect, StoredMessage};
use crate::wire::subject::Filter;
use bytes::Bytes;

/// Derived from the configuration.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Rules {
    /// What it captures.
    pub(super) subjects: Vec<Filter>,
    transform: Option<Transform>,
    republish: Option<Republish>,
}

#[derive(Clone, PartialEq, Debug)]
struct Republish {
    to: Transform,
    headers_only: bool,
}

impl Rules {
    /// The rules of a configuration that was checked.
    pub(super) fn of(config: &StreamConfig) -> Result<Self, String> {
        let subjects = config.subjects.iter().map(|subject| Filter::parse(subject));
        let transform =
            config.subject_transform.as_ref().map(|own| Transform::parse(&own.src, &own.dest)).transpose()?;
        // An empty destination republishes nothing.
        let republish = config.republish.as_ref().filter(|own| !own.dest.is_empty()).map(|own| {
            Transform::parse(&own.src, &own.dest).map(|to| Republish { to, headers_only: own.headers_only })
        });
        Ok(Self {
            subjects: subjects.collect::<Result<_, _>>().map_err(|why| why.to_string())?,
            transform,
            republish: republish.transpose()?,
        })
    }

    /// What all that is republished matches, if anything is.
    pub(super) fn republishes_to(&self) -> Option<Filter> {
        self.republish.as_ref().and_then(|own| own.to.range())
    }

    /// The subject under which a message is stored, if it is another.
    pub(super) fn transformed(&self, subject: &str) -> Option<String> {
        self.transform.as_ref()?.apply(subject).map(std::borrow::Cow::into_owned)
    }
}

impl Stream {
    /// What is published again because of a message that is about to be stored.
    pub(super) fn republished(&self, message: &StoredMessage) -> Option<Effect> {
        let Republish { to, headers_only } = self.rules.republish.as_ref()?;
        let subject = to.apply(&message.subject)?.into_owned();
        let last = self.log.on_subject(&message.subject).and_then(Seqs::last);
        let (seq, last) = (message.seq.to_string(), last.unwrap_or(0).to_string());
        let (at, size) = (message.stored_at.rfc3339(), message.payload.len().to_string());
        let mut added = vec![
            ("Nats-Stream", self.config.name.as_str()),
            ("Nats-Subject", &message.subject),
            ("Nats-Sequence", &seq),
            ("Nats-Time-Stamp", &at),
            ("Nats-Last-Sequence", &last),
        ];
        if *headers_only {
            added.push(("Nats-Msg-Size", &size));
        }
        let mut headers = message.headers.clone();
        headers.append_all(&added);
        let payload = if *headers_only { Bytes::new() } else { message.payload.clone() };
        Some(Effect::Republish { subject, headers, payload })
    }
}
