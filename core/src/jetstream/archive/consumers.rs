//! Consumers in an archive: JSON of their configuration and of what they know of deliveries.
//!
//! ```text
//!  {"config": {…}, "state": {"delivered": {…}, "ack_floor": {…},
//!    "pending": {"<sequence>": {"Sequence": <first delivery>, "Timestamp": <ns>}}, "redelivered": {"<sequence>": <times>}}}
//! ```
//!
//! A message that was redelivered and is not pending was delivered as often as it may be. `last_per_subject` is our own:
//! other brokers pass it over.

use crate::jetstream::api::{ConsumerConfig, SequencePair};
use crate::jetstream::record::{ConsumerState, PendingState};
use crate::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const MS_NS: u64 = 1_000_000;
/// Positions beyond this are no positions.
const POSITION_MAX: u64 = u64::MAX >> 1;

#[derive(Serialize, Deserialize)]
struct Archived {
    config: Option<ConsumerConfig>,
    state: Option<State>,
}

#[derive(Serialize, Deserialize)]
struct State {
    delivered: SequencePair,
    ack_floor: SequencePair,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pending: BTreeMap<u64, Pending>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    redelivered: BTreeMap<u64, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_per_subject: Option<(BTreeSet<u64>, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pending {
    sequence: u64,
    timestamp: i64,
}

/// A consumer's entry, as far as it is about messages up to the last one of the archive.
pub(in crate::jetstream) fn write(
    name: &str,
    config: &ConsumerConfig,
    state: ConsumerState,
    last_seq: u64,
) -> Vec<u8> {
    let config = ConsumerConfig { name: Some(name.to_owned()), ..config.clone() };
    let ConsumerState { mut delivered, mut ack_floor, pending, exhausted, last_per_subject } = state;
    delivered.stream_seq = delivered.stream_seq.min(last_seq);
    ack_floor.stream_seq = ack_floor.stream_seq.min(last_seq);
    let pending = || pending.iter().filter(|(seq, _)| **seq <= last_seq);
    let again = pending().filter(|(_, own)| own.deliveries > 1).map(|(seq, own)| (*seq, own.deliveries - 1));
    let deliveries_max = u64::try_from(config.max_deliver).unwrap_or(1);
    let given_up = exhausted.into_iter().filter(|seq| *seq <= last_seq).map(|seq| (seq, deliveries_max));
    let redelivered = again.chain(given_up).collect();
    let pending = pending().map(|(seq, own)| {
        let delivered_ns = (own.due.as_ms() * MS_NS).saturating_sub(config.ack_wait_of_ns(own.deliveries));
        let timestamp = i64::try_from(delivered_ns).unwrap_or(i64::MAX);
        (*seq, Pending { sequence: own.consumer_seq, timestamp })
    });
    let pending = pending.collect();
    let state = State { delivered, ack_floor, pending, redelivered, last_per_subject };
    serde_json::to_vec(&Archived { config: Some(config), state: Some(state) })
        .expect("plain data with number keys is JSON")
}

/// A consumer's entry, or what is wrong with it.
pub(in crate::jetstream) fn read(
    name: &str,
    entry: &[u8],
) -> Result<(ConsumerConfig, ConsumerState), String> {
    let Archived { config, state } = serde_json::from_slice(entry)
        .map_err(|why| format!("failed to decode consumer {name:?} state: {why}"))?;
    let mut config = config.ok_or_else(|| format!("consumer {name:?} is missing config"))?;
    let State { delivered, ack_floor, pending, redelivered, last_per_subject } =
        state.ok_or_else(|| format!("consumer {name:?} is missing state"))?;
    let named = [&config.durable_name, &config.name].into_iter().flatten().any(|name| !name.is_empty());
    if !named {
        config.name = Some(name.to_owned());
    }
    let refused = |why: &str| Err(format!("failed to set consumer {name:?} state: {why}"));
    let is_behind =
        ack_floor.stream_seq <= delivered.stream_seq && ack_floor.consumer_seq <= delivered.consumer_seq;
    if !is_behind || delivered.stream_seq.max(delivered.consumer_seq) > POSITION_MAX {
        return refused("bad ack floor for consumer");
    }
    let unsettled = ack_floor.stream_seq + 1..=delivered.stream_seq;
    if let Some((seq, _)) =
        pending.iter().find(|(seq, own)| !unsettled.contains(seq) || own.sequence > delivered.consumer_seq)
    {
        return refused(&format!("bad pending entry, sequence [{seq}] out of range"));
    }
    let given_up = redelivered.keys().filter(|seq| unsettled.contains(seq) && !pending.contains_key(seq));
    let exhausted = given_up.copied().collect();
    let pending = pending.into_iter().map(|(seq, Pending { sequence, timestamp })| {
        let deliveries = redelivered.get(&seq).map_or(1, |again| again.saturating_add(1));
        let delivered_ns = u64::try_from(timestamp).unwrap_or(0);
        let due =
            Wall::from_ms(delivered_ns.saturating_add(config.ack_wait_of_ns(deliveries)).div_ceil(MS_NS));
        (seq, PendingState { consumer_seq: sequence, deliveries, due })
    });
    let pending = pending.collect();
    Ok((config, ConsumerState { delivered, ack_floor, pending, exhausted, last_per_subject }))
}
