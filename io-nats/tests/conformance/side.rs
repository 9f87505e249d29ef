//! What a broker must do to take part, and what comes of it as text.

use cloudlysis_core::Wall;
use cloudlysis_core::jetstream::api::{
    AccountInfo, ApiError, ConsumerInfo, MessageGet, Page, Paging, PriorityGroupState, PullRequest,
    SequenceInfo, StreamInfo, ZERO_TIME,
};
use cloudlysis_core::jetstream::{AckSubject, Answer, Publish, Request};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a script waits for what should come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A broker, in the engine's words.
pub(crate) trait Side {
    /// A pull request that may be waiting.
    type Pull;

    /// Publishes; `None` when nobody answers.
    async fn publish(&mut self, publish: Publish) -> Option<Answer>;

    async fn request(&mut self, request: Request) -> Answer;

    /// Reads directly: every message, and the status at the end.
    async fn read_directly(&mut self, stream: &str, get: MessageGet) -> Vec<Answer>;

    /// Sends a pull request; returns when the broker has it.
    async fn pull(&mut self, stream: &str, consumer: &str, request: PullRequest) -> Self::Pull;

    /// Listens on a subject, from when this returns.
    async fn listen(&mut self, subject: &str) -> Self::Pull;

    /// Listens no more, from when this returns.
    async fn leave(&mut self, listening: Self::Pull);

    /// Sends an empty message, such as the answer to a flow control request.
    async fn confirm(&mut self, subject: &str);

    /// The next thing on a pull's inbox; `None` when nothing comes within the time given.
    async fn next(&mut self, pull: &mut Self::Pull, within: Duration) -> Option<Seen>;

    /// Answers a delivery; `None` when the broker does not confirm it.
    async fn ack(&mut self, delivery: &AckSubject, payload: &str) -> Option<Answer>;

    /// Answers a delivery so that what comes of it goes where the messages of a pull go.
    async fn ack_and_pull(&mut self, delivery: &AckSubject, payload: &str) -> Self::Pull;

    /// The next advisory about a consumer, and where it is told; `None` when none comes within the time given.
    async fn advisory(&mut self, within: Duration) -> Option<(String, Value)>;

    /// The broker's clock.
    fn wall(&self) -> Wall;

    /// Lets time pass.
    async fn pass(&mut self, time: Duration);

    /// Time since the beginning.
    fn elapsed(&self) -> Duration;

    /// The broker stops in good order and comes back.
    async fn restart(&mut self);

    /// The broker is killed and comes back.
    async fn crash(&mut self);
}

/// What a client sees on its inbox.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Message { ack: AckSubject, subject: String, headers: Vec<(String, String)>, payload: String },
    Status { code: u16, description: String, headers: Vec<(String, String)>, reply: Option<String> },
}

impl Seen {
    /// `deliveries.stream_seq.consumer_seq pending subject headers payload`, or the status line and its numbers.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Message { ack, subject, headers, payload } => {
                let AckSubject { stream, consumer, deliveries, stream_seq, consumer_seq, pending, .. } = ack;
                let numbers = format!("{deliveries}.{stream_seq}.{consumer_seq} {pending}");
                format!("{stream}/{consumer} {numbers} {subject} {} {payload}", pairs(headers))
            }
            Self::Status { code, description, headers, reply } => {
                let reply = reply.as_deref().map(without_token).unwrap_or_default();
                format!("{code} {description} {} {reply}", pairs(headers)).trim_end().to_owned()
            }
        }
    }

    /// A sign of life, of which there are more on a slow machine.
    pub(crate) const fn is_heartbeat(&self) -> bool {
        matches!(self, Self::Status { code: 100, reply: None, .. })
    }
}

fn group_text(group: &PriorityGroupState) -> String {
    let pinned = if group.pinned_client_id.is_some() { "pinned" } else { "free" };
    assert_eq!(group.pinned_client_id.is_some(), group.pinned_ts != ZERO_TIME);
    format!("{} {pinned}", group.group)
}

/// A flow control subject without its last token, which is a random one.
fn without_token(subject: &str) -> &str {
    if subject.starts_with("$JS.FC.") {
        subject.rsplit_once('.').map_or(subject, |(own, _)| own)
    } else {
        subject
    }
}

fn pairs(headers: &[(String, String)]) -> String {
    let shown = |(name, value): &(String, String)| match name.as_str() {
        // What a client is pinned as is a random one.
        "Nats-Pin-Id" => format!("{name}=…"),
        // What tells an origin from others of its name is a server's own business.
        "Nats-Stream-Source" => format!("{name}={}", value.rsplit_once(' ').map_or("", |(shown, _)| shown)),
        _ => format!("{name}={}", without_token(value)),
    };
    let mut pairs: Vec<String> = headers.iter().map(shown).collect();
    pairs.sort_unstable();
    pairs.join(",")
}

/// A moment that is not the same on two brokers, unless it is the beginning of a year.
pub(crate) fn moment(text: &str) -> &str {
    if text.ends_with("-01-01T00:00:00Z") { text } else { "some day" }
}

/// Whether scripts are interested in an advisory.
pub(crate) fn is_about_consumer(subject: &str) -> bool {
    ["$JS.EVENT.ADVISORY.CONSUMER.", "$JS.EVENT.METRIC.CONSUMER."].iter().any(|own| subject.starts_with(own))
}

/// An advisory without what cannot be the same on two brokers.
pub(crate) fn advisory_text(subject: &str, mut body: Value) -> String {
    let fields = body.as_object_mut().expect("an object");
    for random in ["id", "timestamp", "pinned_id", "ack_time"] {
        if let Some(value) = fields.get_mut(random) {
            *value = "…".into();
        }
    }
    if let Some(until) = fields.get_mut("pause_until") {
        *until = moment(until.as_str().unwrap_or_default()).into();
    }
    format!("{subject} {body}")
}

pub(crate) fn refused(error: &ApiError) -> String {
    format!("{} {} {}", error.code, error.err_code, error.description)
}

/// An answer without what cannot be the same on two brokers: moments, and what a server adds about itself.
pub(crate) fn text(answer: Answer) -> String {
    match answer {
        Answer::Published { stream, seq, duplicate, val } => {
            let val = val.map_or_else(String::new, |val| format!(" counts {val}"));
            format!("{stream} {seq}{}{val}", if duplicate { " duplicate" } else { "" })
        }
        Answer::BatchPublished { stream, seq, batch, count } => format!("{stream} {seq} of {batch}/{count}"),
        Answer::NotPublished { stream, error } => format!("{stream}: {}", refused(&error)),
        Answer::Failed(error) => refused(&error),
        Answer::Stream(info) => stream_text(*info),
        Answer::StreamDescribed { info, subjects } => {
            let origins = origins_text(&info);
            format!("{subjects:?} {}{origins}", stream_text(*info))
        }
        Answer::Account(account) => account_text(*account),
        Answer::Streams(all) => page_text(all, stream_text),
        Answer::Consumer(info) => consumer_text(*info),
        // The rest a real server may tell as it was a moment before.
        Answer::ConsumerReset { info, reset_seq } => format!("{} to {reset_seq}", info.name),
        Answer::ConsumerPaused { is_paused, pause_until, pause_remaining_ns } => {
            let remaining = if pause_remaining_ns > 0 { ", for a while" } else { "" };
            format!("paused {is_paused} until {}{remaining}", moment(&pause_until))
        }
        Answer::Consumers(all) => page_text(all, consumer_text),
        Answer::StreamNames(names) | Answer::ConsumerNames(names) => page_text(names, |name| name),
        Answer::Message(message) => {
            let headers: Vec<_> =
                message.headers.to_headers().iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            format!("{} {} {} {:?}", message.seq, message.subject, pairs(&headers), message.payload)
        }
        Answer::Direct(own) => {
            let headers = own.headers().to_headers();
            let mut headers: Vec<_> = headers.iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            headers.retain(|(name, _)| name != "Nats-Time-Stamp");
            format!("direct {} {:?}", pairs(&headers), own.message.payload)
        }
        Answer::NoResponders { .. } => "503".to_owned(),
        done @ (Answer::StreamDeleted
        | Answer::SnapshotBegun { .. }
        | Answer::RestoreBegun { .. }
        | Answer::Restored(_)
        | Answer::Purged { .. }
        | Answer::Staged
        | Answer::DirectStatus(_)
        | Answer::MessageDeleted
        | Answer::ConsumerDeleted
        | Answer::ConsumerUnpinned
        | Answer::AckProcessed) => format!("{done:?}"),
    }
}

fn page_text<T>(page: Page<T>, text: impl Fn(T) -> String) -> String {
    let Paging { total, offset, limit } = page.paging;
    let items: Vec<String> = page.items.into_iter().map(text).collect();
    format!("{offset} of {total}, {limit} a page\n{}", items.join("\n"))
}

/// Without how much was asked: a script that waits asks more often.
fn account_text(mut info: AccountInfo) -> String {
    (info.api.total, info.api.errors) = (0, 0);
    // Ours has less than the original, and says so.
    info.api.level = 0;
    format!("{info:?}")
}

fn stream_text(mut info: StreamInfo) -> String {
    own_metadata(&mut info.config.metadata);
    for moment in [&mut info.state.first_ts, &mut info.state.last_ts] {
        *moment = if moment == ZERO_TIME { "never" } else { "once" }.to_owned();
    }
    assert!(info.created.ends_with('Z'), "{}", info.created);
    format!("{:?} {:?}", info.state, info.config)
}

/// Where a stream copies from, without when it last did. A real server knows a moment after it created the stream.
fn origins_text(info: &StreamInfo) -> String {
    let mut lines: Vec<String> = info
        .mirror
        .iter()
        .chain(&info.sources)
        .map(|own| format!(" {} {:?} {:?}", own.name, own.filter_subject, own.subject_transforms))
        .collect();
    lines.sort_unstable();
    lines.concat()
}

fn consumer_text(mut info: ConsumerInfo) -> String {
    own_metadata(&mut info.config.metadata);
    for at in [&mut info.config.opt_start_time, &mut info.config.pause_until].into_iter().flatten() {
        *at = moment(at).to_owned();
    }
    assert!(info.created.ends_with('Z'), "{}", info.created);
    assert!(info.ts.ends_with('Z'), "{}", info.ts);
    let ConsumerInfo { stream_name, delivered, ack_floor, .. } = &info;
    let ConsumerInfo { num_ack_pending, num_redelivered, num_waiting, num_pending, config, .. } = &info;
    let name = if config.name.is_some() { &info.name } else { "(generated)" };
    let bound = if info.push_bound { " bound" } else { "" };
    let paused = if info.paused { " paused" } else { "" };
    assert_eq!(info.paused, info.pause_remaining_ns > 0);
    let groups: Vec<String> = info.priority_groups.iter().map(group_text).collect();
    let moved = |position: &SequenceInfo| {
        let active = if position.last_active.is_some() { "*" } else { "" };
        format!("{}/{}{active}", position.consumer_seq, position.stream_seq)
    };
    format!(
        "{stream_name}/{name} del {} floor {} ackp {num_ack_pending} redel {num_redelivered} \
         wait {num_waiting} pend {num_pending}{bound}{paused} {groups:?} {config:?}",
        moved(delivered),
        moved(ack_floor)
    )
}

fn own_metadata(metadata: &mut BTreeMap<String, String>) {
    metadata.retain(|key, _| !key.starts_with("_nats."));
}
