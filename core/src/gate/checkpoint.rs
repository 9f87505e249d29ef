//! The checkpoint: how far a stream is applied, and by what its messages are recognised again.
//!
//! A sequence is a place, not a message. After a log has lost its end, or an older backup was restored, other messages
//! take the same places, and a stream that is as long as before looks like the one that was applied. So the row also
//! keeps a [`Witness`] of what stood at the last place, and how many messages were missing; whoever binds, or audits,
//! asks the stream what stands there now.
//!
//! What a lost end takes away includes the last message that was seen, so one witness speaks for everything before it.
//! A hole in the middle changes the count. Both are believed as long as the stream has a leader; a log is rewritten only
//! while it has none, and whoever reads it notices that (docs/decisions/0007).
//!
//! - INV-GATE-6: what stands at the last place seen is what was seen there, and nothing before it was removed; or the
//!   partition stops.
//!
//! Limits: messages that expire legally take their evidence with them; of what is left, the count still speaks.

use super::StreamFacts;
use crate::halt::{Fence, Halt};
use crate::store::Table;
use crate::wire::stream::PlatformStream;
use sha2::{Digest, Sha256};

/// The first byte after the sequence in a row that carries evidence; no incarnation begins with it.
const EVIDENCE: u8 = 1;
const HASH_BYTES: usize = 16;
/// What a witness in a row consists of, as bits of the byte before it.
const CONTENT: u8 = 1;
const ID: u8 = 2;
const STORED_AT: u8 = 4;

/// By what a stored message is recognised again; whatever is not known of it is no evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Witness {
    content: Option<Hash>,
    /// Of its message id.
    id: Option<Hash>,
    /// When the broker stored it; unknown to whoever published it.
    stored_at_ns: Option<u64>,
}

type Hash = [u8; HASH_BYTES];

fn hash(parts: [&[u8]; 2]) -> Hash {
    let digest = Sha256::new().chain_update(parts[0]).chain_update([0]).chain_update(parts[1]).finalize();
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(&digest[..HASH_BYTES]);
    out
}

impl Witness {
    /// Of a message. `stored_at_ns` is the broker's time in nanoseconds since 1970, where it is known.
    #[must_use]
    pub fn of(subject: &str, payload: &[u8], stored_at_ns: Option<u64>) -> Self {
        Self { content: Some(hash([subject.as_bytes(), payload])), id: None, stored_at_ns }
    }

    /// Of a message of which only the id is known.
    #[must_use]
    pub fn of_id(id: &str) -> Self {
        Self { content: None, id: Some(hash([id.as_bytes(), b""])), stored_at_ns: None }
    }

    /// With its message id, when it has one.
    #[must_use]
    pub fn identified(self, id: Option<&str>) -> Self {
        Self { id: id.map(|id| hash([id.as_bytes(), b""])), ..self }
    }

    /// Whether it may be of the message that was found on a stream. One that was found without an id has none.
    fn agrees(&self, found: &Self) -> bool {
        fn same<T: PartialEq>(own: Option<T>, found: Option<T>) -> bool {
            own.zip(found).is_none_or(|(own, found)| own == found)
        }
        same(self.content, found.content)
            && (self.id.is_none() || self.id == found.id)
            && same(self.stored_at_ns, found.stored_at_ns)
    }
}

/// A message of a stream that was seen, or what stands in its place now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Where.
    pub seq: u64,
    /// What; `None` when nothing is there.
    pub witness: Option<Witness>,
}

/// How far a stream is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Which incarnation of the stream; `None` before the first binding.
    pub incarnation: Option<String>,
    /// The last sequence applied.
    pub seq: u64,
    /// What stood there; `None` when nothing was seen there.
    pub applied: Option<Witness>,
    /// The highest place at which a message of our own was stored, and that message.
    pub published: Option<(u64, Witness)>,
    /// Messages that were missing already when it was bound.
    pub removed: u64,
}

impl Checkpoint {
    /// Moves to a message.
    pub(crate) const fn move_to(&mut self, seq: u64, witness: Witness) {
        self.seq = seq;
        self.applied = Some(witness);
    }

    /// A message of our own is stored. Says whether that is news.
    pub(crate) fn publish(&mut self, seq: u64, witness: Witness) -> bool {
        let news = self.published.is_none_or(|(known, _)| known < seq);
        if news {
            self.published = Some((seq, witness));
        }
        news
    }

    /// What was seen, for an inspection to look at again.
    pub(crate) fn evidence(&self) -> Vec<Sighting> {
        let applied = Sighting { seq: self.seq, witness: self.applied };
        let published = self.published.map(|(seq, witness)| Sighting { seq, witness: Some(witness) });
        [applied].into_iter().chain(published).collect()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = self.seq.to_be_bytes().to_vec();
        row.push(EVIDENCE);
        row.extend_from_slice(&self.removed.to_be_bytes());
        put_witness(&mut row, self.applied);
        row.extend_from_slice(&self.published.map_or(0, |(seq, _)| seq).to_be_bytes());
        put_witness(&mut row, self.published.map(|(_, witness)| witness));
        row.extend_from_slice(self.incarnation.as_deref().unwrap_or_default().as_bytes());
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, Halt> {
        let mut rest = row;
        let seq = number(&mut rest)?;
        let mut own = Self { seq, ..Self::default() };
        // A row without evidence is of an earlier version: there is nothing to compare until it moves.
        if let Some((&EVIDENCE, after)) = rest.split_first() {
            rest = after;
            own.removed = number(&mut rest)?;
            own.applied = witness(&mut rest)?;
            let published_seq = number(&mut rest)?;
            own.published = witness(&mut rest)?.map(|witness| (published_seq, witness));
        }
        let incarnation = std::str::from_utf8(rest).map_err(|_| corrupt("incarnation is not text"))?;
        own.incarnation = (!incarnation.is_empty()).then(|| incarnation.to_owned());
        Ok(own)
    }
}

/// How many messages of a stream are gone: of events, that never expire, all that there ever were count.
pub(crate) fn removed(stream: PlatformStream, facts: &StreamFacts) -> u64 {
    let from = match stream {
        PlatformStream::AggregateEvents => 1,
        PlatformStream::WorkflowCommands | PlatformStream::WorkflowEvents => facts.first_seq.max(1),
    };
    (facts.last_seq + 1).saturating_sub(from).saturating_sub(facts.messages)
}

/// Whether a stream still holds what was seen of it.
pub(crate) fn compare(
    stream: PlatformStream,
    seen: &[Sighting],
    known_removed: u64,
    facts: &StreamFacts,
) -> Result<(), Fence> {
    let name = || stream.to_string();
    let removed = removed(stream, facts);
    if removed > known_removed {
        return Err(Fence::MessagesRemoved { stream: name(), removed, known_removed });
    }
    for Sighting { seq, witness } in seen {
        if *seq > facts.last_seq {
            let (seen_seq, last_seq) = (*seq, facts.last_seq);
            return Err(Fence::StreamTruncated { stream: name(), seen_seq, last_seq });
        }
        let (Some(own), Some(found)) = (witness, facts.found.iter().find(|found| found.seq == *seq)) else {
            continue;
        };
        // What is below the first message expired, and what is missing above it is in the count.
        if found.witness.is_some_and(|found| !own.agrees(&found)) {
            return Err(Fence::MessageReplaced { stream: name(), seq: *seq });
        }
    }
    Ok(())
}

fn corrupt(detail: &str) -> Halt {
    Halt::Corrupt { table: Table::Checkpoint, detail: detail.to_owned() }
}

fn number(row: &mut &[u8]) -> Result<u64, Halt> {
    let (number, rest) = row.split_first_chunk::<8>().ok_or_else(|| corrupt("shorter than a sequence"))?;
    *row = rest;
    Ok(u64::from_be_bytes(*number))
}

/// One byte that says what follows.
fn put_witness(row: &mut Vec<u8>, witness: Option<Witness>) {
    let Some(Witness { content, id, stored_at_ns }) = witness else {
        row.push(0);
        return;
    };
    let bit = |is_there, bit| if is_there { bit } else { 0 };
    row.push(
        bit(content.is_some(), CONTENT) | bit(id.is_some(), ID) | bit(stored_at_ns.is_some(), STORED_AT),
    );
    row.extend(content.into_iter().flatten());
    row.extend(id.into_iter().flatten());
    row.extend(stored_at_ns.into_iter().flat_map(u64::to_be_bytes));
}

fn witness(row: &mut &[u8]) -> Result<Option<Witness>, Halt> {
    let (kind, rest) = row.split_first().ok_or_else(|| corrupt("shorter than its evidence"))?;
    *row = rest;
    if *kind == 0 {
        return Ok(None);
    }
    let content = if kind & CONTENT == 0 { None } else { Some(read_hash(row)?) };
    let id = if kind & ID == 0 { None } else { Some(read_hash(row)?) };
    let stored_at_ns = if kind & STORED_AT == 0 { None } else { Some(number(row)?) };
    Ok(Some(Witness { content, id, stored_at_ns }))
}

fn read_hash(row: &mut &[u8]) -> Result<Hash, Halt> {
    let (hash, rest) =
        row.split_first_chunk::<HASH_BYTES>().ok_or_else(|| corrupt("shorter than a witness"))?;
    *row = rest;
    Ok(*hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_with_their_evidence_and_without() {
        let witness = |time| Witness::of("tenant.a.aggregate.order.1", b"{}", time);
        for applied in [None, Some(witness(None)), Some(witness(Some(7)))] {
            for published in [None, Some((12, witness(None))), Some((12, Witness::of_id("c")))] {
                for incarnation in [None, Some("2026|a".to_owned())] {
                    let own = Checkpoint { incarnation, seq: 9, applied, published, removed: 3 };
                    assert_eq!(Checkpoint::decode(&own.encode()), Ok(own));
                }
            }
        }
        let mut earlier = 9_u64.to_be_bytes().to_vec();
        earlier.extend_from_slice(b"2026|a");
        let own = Checkpoint { incarnation: Some("2026|a".into()), seq: 9, ..Checkpoint::default() };
        assert_eq!(Checkpoint::decode(&earlier), Ok(own.clone()));
        let row = own.encode();
        assert!((0..row.len() - 6).all(|len| len == 8 || Checkpoint::decode(&row[..len]).is_err()));
    }

    #[test]
    fn a_message_is_recognised_by_what_it_says_and_when_it_was_stored() {
        let own = Witness::of("a", b"x", Some(7));
        assert!(own.agrees(&own) && own.agrees(&Witness::of("a", b"x", None)));
        assert!(!own.agrees(&Witness::of("a", b"x", Some(8))), "the same once more is another message");
        assert!(
            !own.agrees(&Witness::of("a", b"y", Some(7))) && !own.agrees(&Witness::of("b", b"x", Some(7)))
        );
        assert_ne!(Witness::of("a", b"bx", None), Witness::of("ab", b"x", None));
        let (one, two) = (own.identified(Some("1")), own.identified(Some("2")));
        assert!(
            !one.agrees(&two) && !one.agrees(&own) && own.agrees(&one) && Witness::of_id("1").agrees(&one)
        );
        assert!(!Witness::of_id("2").agrees(&one), "of an accepted command, only the id is known");
    }
}
