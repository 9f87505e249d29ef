//! The operations that the [model](super::model) is told to survive, and how often each comes.

use super::MS;
use super::model::{CONSUMERS, SUBJECTS};
use crate::jetstream::AckKind;
use proptest::prelude::*;

/// What may happen to a broker.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Publish {
        subject: usize,
        id: Option<u8>,
    },
    Pull {
        consumer: usize,
        batch: u64,
        no_wait: bool,
        expires_ms: u64,
    },
    /// Answers one of the deliveries seen so far.
    Answer {
        nth: prop::sample::Index,
        kind: AckKind,
    },
    Advance {
        ms: u64,
    },
    /// A tick nobody asked for, after a time too short to matter.
    SpuriousTick,
    /// The wall clock jumps.
    WallJump {
        ms: i64,
    },
    Purge {
        below: u64,
    },
    DeleteMessage {
        nth: prop::sample::Index,
    },
    Crash,
    CommitUnknown {
        landed: bool,
    },
    Truncate {
        lost: u64,
    },
    EndAckWait {
        consumer: usize,
        nth: prop::sample::Index,
    },
    LosePulls {
        consumer: usize,
    },
    Recreate {
        consumer: usize,
    },
}

/// Any of them, the usual ones more often.
pub(super) fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        6 => Just(AckKind::Ack),
        1 => Just(AckKind::Nak { delay_ns: None }),
        1 => (0..800_u64).prop_map(|ms| AckKind::Nak { delay_ns: Some(ms * MS) }),
        1 => Just(AckKind::InProgress),
        1 => Just(AckKind::Term { reason: String::new() }),
    ];
    prop_oneof![
        12 => (0..SUBJECTS.len(), prop::option::of(0..6_u8)).prop_map(|(subject, id)| Op::Publish { subject, id }),
        8 => (0..CONSUMERS.len(), 1..5_u64, any::<bool>(), prop::sample::select(vec![0, 50, 700])).prop_map(
            |(consumer, batch, no_wait, expires_ms)| Op::Pull { consumer, batch, no_wait, expires_ms }
        ),
        12 => (any::<prop::sample::Index>(), kind).prop_map(|(nth, kind)| Op::Answer { nth, kind }),
        4 => prop::sample::select(vec![1_u64, 99, 101, 499, 501, 3_000]).prop_map(|ms| Op::Advance { ms }),
        3 => Just(Op::SpuriousTick),
        1 => (-3_000..3_000_i64).prop_map(|ms| Op::WallJump { ms }),
        1 => (0..20_u64).prop_map(|below| Op::Purge { below }),
        1 => any::<prop::sample::Index>().prop_map(|nth| Op::DeleteMessage { nth }),
        2 => Just(Op::Crash),
        1 => any::<bool>().prop_map(|landed| Op::CommitUnknown { landed }),
        1 => (0..3_u64).prop_map(|lost| Op::Truncate { lost }),
        1 => (0..CONSUMERS.len(), any::<prop::sample::Index>()).prop_map(|(consumer, nth)| Op::EndAckWait { consumer, nth }),
        1 => (0..CONSUMERS.len()).prop_map(|consumer| Op::LosePulls { consumer }),
        1 => (0..CONSUMERS.len()).prop_map(|consumer| Op::Recreate { consumer }),
    ]
}
