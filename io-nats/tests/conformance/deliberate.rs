//! Where the engine answers differently on purpose.

/// What was asked, as scripts write it down, and why the answers differ.
const DIFFERENCES: &[(&str, &str)] = &[
    ("details of EMPTY", "the server lists sequence 0 as deleted in a stream that never had a message"),
    (
        "state of LASTGONE",
        "a server that was killed no longer knows when its last message was stored, if that one is deleted",
    ),
    (
        "publish lastgone.a [Nats-Msg-Id: 1], 5 bytes",
        "and then it forgets every message id, also of messages it still holds",
    ),
    (
        "QUEUE until it has 0",
        "who copies from a work queue is a consumer of it on the server; the engine needs none",
    ),
];

pub(crate) fn why(what: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|(own, _)| *own == what).map(|(_, why)| *why)
}
