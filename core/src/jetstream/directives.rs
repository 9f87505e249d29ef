//! What a publisher asks of the broker: the headers it looks at, found in one walk over the block.
//!
//! A header without a value, or whose value is no text, asks for nothing; but a zone without a name is no zone.

use crate::wire::header_block::HeaderBlock;
use crate::wire::headers;

pub(super) const TTL: &str = "Nats-TTL";
pub(super) const ROLLUP: &str = "Nats-Rollup";
pub(super) const STREAM_SOURCE: &str = "Nats-Stream-Source";
pub(super) const SCHEDULE: &str = "Nats-Schedule";
pub(super) const SCHEDULE_ZONE: &str = "Nats-Schedule-Time-Zone";
pub(super) const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";
pub(super) const SCHEDULER: &str = "Nats-Scheduler";
pub(super) const BATCH_COMMIT: &str = "Nats-Batch-Commit";

macro_rules! directives {
    ($($field:ident: $name:expr,)*) => {
        /// The values, by what they ask for.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub(super) struct Directives<'h> {
            $(pub(super) $field: Option<&'h str>,)*
        }

        impl<'h> Directives<'h> {
            pub(super) fn of(block: &'h HeaderBlock) -> Self {
                let mut own = Self::default();
                if block.is_empty() {
                    return own;
                }
                for (name, value) in block.iter() {
                    if !name.starts_with(b"Nats-") {
                        continue;
                    }
                    let value = std::str::from_utf8(value).ok();
                    $(if name == $name.as_bytes() {
                        own.$field = own.$field.or(value);
                        continue;
                    })*
                }
                let zone = own.schedule_zone;
                $(own.$field = own.$field.filter(|value| !value.is_empty());)*
                Self { schedule_zone: zone, ..own }
            }
        }
    };
}

directives! {
    msg_id: headers::NATS_MSG_ID,
    expected_stream: headers::NATS_EXPECTED_STREAM,
    expected_last: headers::NATS_EXPECTED_LAST_SEQUENCE,
    expected_last_on_subject: headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    expected_subject: "Nats-Expected-Last-Subject-Sequence-Subject",
    expected_last_id: headers::NATS_EXPECTED_LAST_MSG_ID,
    rollup: ROLLUP,
    ttl: TTL,
    incr: "Nats-Incr",
    batch: "Nats-Batch-Id",
    batch_seq: "Nats-Batch-Sequence",
    batch_commit: BATCH_COMMIT,
    schedule: SCHEDULE,
    schedule_zone: SCHEDULE_ZONE,
    schedule_target: "Nats-Schedule-Target",
    schedule_source: "Nats-Schedule-Source",
    schedule_ttl: "Nats-Schedule-TTL",
    schedule_rollup: "Nats-Schedule-Rollup",
    schedule_next: SCHEDULE_NEXT,
    scheduler: SCHEDULER,
    source: STREAM_SOURCE,
    marker: "Nats-Marker-Reason",
}
