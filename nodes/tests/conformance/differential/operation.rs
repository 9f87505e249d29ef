//! What a client may do, as plain data: written the same for both sides.
//!
//! In texts, `{last}` is the sequence the side last told a publisher, `{eph0}` … the names it gave ephemeral consumers, in
//! order: both are the side's own.

use std::fmt;

/// One thing a client does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// Publishes with an inbox: a call of the API, or a message for a stream.
    Request { subject: String, headers: Vec<String>, payload: String },
    /// Publishes without one.
    Publish { subject: String, headers: Vec<String>, payload: String },
    /// Pulls; messages and statuses come to an inbox of its own. If it `ends` by itself, the end is waited for.
    Pull { stream: String, consumer: String, body: String, ends: bool },
    /// Answers the `nth` message that came with an ack subject, counted from the first, round and round.
    Ack { nth: usize, kind: String, confirmed: bool },
}

impl Operation {
    /// A call of the API.
    pub(super) fn call(call: impl AsRef<str>, body: impl ToString) -> Self {
        let (subject, payload) = (format!("$JS.API.{}", call.as_ref()), body.to_string());
        Self::Request { subject, headers: Vec::new(), payload }
    }

    /// Whether it is this call of the API.
    pub(super) fn is_call(&self, call: &str) -> bool {
        let Self::Request { subject, .. } = self else { return false };
        subject.strip_prefix("$JS.API.").is_some_and(|asked| asked.starts_with(call))
    }

    /// Whether its payload holds this.
    pub(super) fn says(&self, text: &str) -> bool {
        matches!(self, Self::Request { payload, .. } if payload.contains(text))
    }

    /// The stream and the name of the consumer it creates or changes.
    pub(super) fn consumer(&self) -> Option<(&str, &str)> {
        let Self::Request { subject, .. } = self else { return None };
        let call = subject.strip_prefix("$JS.API.CONSUMER.")?;
        let mut tokens = call.strip_prefix("DURABLE.").unwrap_or(call).strip_prefix("CREATE.")?.split('.');
        Some((tokens.next()?, tokens.next()?))
    }

    /// The filters it gives the consumer it creates or changes.
    pub(super) fn filters(&self) -> [serde_json::Value; 2] {
        let Self::Request { payload, .. } = self else { return Default::default() };
        let said: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
        ["filter_subject", "filter_subjects"].map(|field| said["config"][field].clone())
    }

    /// Whether it asks for the removal of messages on some subjects only.
    pub(super) fn purges_some(&self) -> bool {
        let (Self::Request { headers, payload, .. } | Self::Publish { headers, payload, .. }) = self else {
            return false;
        };
        self.is_call("STREAM.PURGE") && payload.contains("\"filter\"")
            || headers.iter().any(|line| line.eq_ignore_ascii_case("Nats-Rollup: sub"))
    }

    /// Whether it may be asked again without a consequence.
    pub(super) fn is_reading(&self) -> bool {
        let Self::Request { subject, .. } = self else { return false };
        let Some(call) = subject.strip_prefix("$JS.API.") else { return false };
        ["INFO", "DIRECT", "STREAM.INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.MSG.GET"]
            .into_iter()
            .chain(["CONSUMER.INFO", "CONSUMER.NAMES", "CONSUMER.LIST"])
            .any(|reading| call.starts_with(reading))
    }

    /// The same with less in it, for a smaller script that still shows the difference.
    pub(super) fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Request { subject, headers, payload } => {
                let simpler = |headers: Vec<String>, payload: String| Self::Request {
                    subject: subject.clone(),
                    headers,
                    payload,
                };
                let without_header = (0..headers.len()).map(|at| {
                    let mut fewer = headers.clone();
                    fewer.remove(at);
                    simpler(fewer, payload.clone())
                });
                without_header
                    .chain(smaller_json(payload).into_iter().map(|payload| simpler(headers.clone(), payload)))
                    .collect()
            }
            Self::Pull { stream, consumer, body, ends } => smaller_json(body)
                .into_iter()
                .map(|body| Self::Pull {
                    stream: stream.clone(),
                    consumer: consumer.clone(),
                    body,
                    ends: *ends,
                })
                .collect(),
            Self::Publish { .. } | Self::Ack { .. } => Vec::new(),
        }
    }
}

/// A JSON object with one field less, also in the objects inside.
fn smaller_json(text: &str) -> Vec<String> {
    fn less(value: &serde_json::Value) -> Vec<serde_json::Value> {
        let Some(fields) = value.as_object() else { return Vec::new() };
        let mut out = Vec::new();
        for (name, inner) in fields {
            let mut fewer = fields.clone();
            fewer.remove(name);
            out.push(fewer.into());
            for inner in less(inner) {
                let mut fewer = fields.clone();
                fewer.insert(name.clone(), inner);
                out.push(fewer.into());
            }
        }
        out
    }
    serde_json::from_str(text)
        .map_or_else(|_| Vec::new(), |value| less(&value).iter().map(ToString::to_string).collect())
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { subject, headers, payload } => {
                write!(f, "request {subject} {headers:?} {payload}")
            }
            Self::Publish { subject, headers, payload } => {
                write!(f, "publish {subject} {headers:?} {payload}")
            }
            Self::Pull { stream, consumer, body, ends } => {
                write!(f, "pull {stream} {consumer} {body}{}", if *ends { ", to its end" } else { "" })
            }
            Self::Ack { nth, kind, confirmed } => {
                write!(f, "ack of delivery {nth}: {kind:?}{}", if *confirmed { ", confirmed" } else { "" })
            }
        }
    }
}
