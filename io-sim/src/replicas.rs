//! Replication as clients see it: who leads, what is not committed yet, what a follower still believes, what is on disk.
//!
//! ```text
//!              proposed ──quorum──► committed ──────────────► synced
//!  publisher    silence              ack                       survives a power loss
//!  meanwhile    10158 for its id, 10164 for its subject
//!
//!  leader 1 ──┤ nobody leads: silence or 503, pulls and acks are lost ├── leader 2 (epoch + 1)
//!  follower   answers for a while with what it knew
//! ```
//!
//! There is one log, the engine's: nothing here is a second copy of it. An asset is an epoch, a window without a leader,
//! the publishes that wait for their quorum, the extents that the log had at earlier moments, and the sequence up to
//! which it was synced. `reference/jetstream.md` 1.10 is what the real server was seen to do.
//!
//! Not here: votes, terms, logs of replicas. None of it shows but through the rows above.

use crate::rng::Rng;
use cloudlysis_core::jetstream::Publish;
use cloudlysis_core::jetstream::api::err_code;
use cloudlysis_core::wire::headers::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MSG_ID};
use std::collections::{BTreeMap, VecDeque};

/// Earlier extents that are remembered for one stream.
const EXTENTS_MAX: usize = 64;

/// How far a stream reached at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// Messages stored.
    pub messages: u64,
    /// The last sequence.
    pub last_seq: u64,
}

/// Whether somebody leads a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leader {
    /// Requests are served.
    There,
    /// Requests are refused with a 503.
    Missing,
    /// Requests have no answer.
    Silent,
}

/// A publish that waits for its quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Proposal {
    until_ns: u64,
    publish: Publish,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Asset {
    epoch: u64,
    /// Nobody leads until then; whether requests are refused rather than lost.
    leaderless: Option<(u64, bool)>,
    proposals: Vec<Proposal>,
    extents: VecDeque<(u64, Extent)>,
    synced_seq: u64,
}

/// The replicas of every stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replicas {
    assets: BTreeMap<String, Asset>,
}

impl Replicas {
    fn asset(&mut self, stream: &str) -> &mut Asset {
        self.assets.entry(stream.to_owned()).or_default()
    }

    /// How often the leader of a stream changed.
    #[must_use]
    pub fn epoch(&self, stream: &str) -> u64 {
        self.assets.get(stream).map_or(0, |asset| asset.epoch)
    }

    /// Something was committed.
    pub fn committed(&mut self, stream: &str, at_ns: u64, extent: Extent) {
        let extents = &mut self.asset(stream).extents;
        extents.push_back((at_ns, extent));
        if extents.len() > EXTENTS_MAX {
            extents.pop_front();
        }
    }

    /// Everything up to a sequence is on disk.
    pub fn synced(&mut self, stream: &str, seq: u64) {
        let asset = self.asset(stream);
        asset.synced_seq = asset.synced_seq.max(seq);
    }

    /// The power fails: what is left of a log that ended at `last_seq`. Everything that was synced is.
    pub fn after_power_loss(&self, stream: &str, last_seq: u64, rng: &mut Rng) -> u64 {
        let synced = self.assets.get(stream).map_or(0, |asset| asset.synced_seq).min(last_seq);
        rng.within(synced, last_seq)
    }

    /// The leader is gone, and another one is there at `until_ns`. What it had proposed and not committed is decided then.
    pub fn lose_leader(&mut self, stream: &str, until_ns: u64, refuses: bool) {
        let asset = self.asset(stream);
        asset.epoch += 1;
        asset.leaderless = Some((until_ns, refuses));
    }

    /// Who answers for a stream now.
    #[must_use]
    pub fn leader(&self, stream: &str, now_ns: u64) -> Leader {
        match self.assets.get(stream).and_then(|asset| asset.leaderless) {
            Some((until_ns, true)) if now_ns < until_ns => Leader::Missing,
            Some((until_ns, false)) if now_ns < until_ns => Leader::Silent,
            Some(_) | None => Leader::There,
        }
    }

    /// A publish is proposed, and its quorum is slow: whoever looks after `until_ns` decides what became of it.
    pub fn propose(&mut self, stream: &str, until_ns: u64, publish: Publish) {
        self.asset(stream).proposals.push(Proposal { until_ns, publish });
    }

    /// The proposals that are decided by now.
    pub fn decided(&mut self, stream: &str, now_ns: u64) -> Vec<Publish> {
        let proposals = &mut self.asset(stream).proposals;
        let (decided, open) = proposals.drain(..).partition(|own| own.until_ns <= now_ns);
        *proposals = open;
        decided.into_iter().map(|own: Proposal| own.publish).collect()
    }

    /// With which error another publish is refused while one like it waits for its quorum.
    #[must_use]
    pub fn contradiction(&self, stream: &str, publish: &Publish) -> Option<u32> {
        let proposals = &self.assets.get(stream)?.proposals;
        let id = publish.headers.get(NATS_MSG_ID);
        if id.is_some() && proposals.iter().any(|own| own.publish.headers.get(NATS_MSG_ID) == id) {
            return Some(err_code::DUPLICATE_IN_PROCESS);
        }
        let expects = publish.headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE).is_some();
        let in_flight = proposals.iter().any(|own| own.publish.subject == publish.subject);
        (expects && in_flight).then_some(err_code::WRONG_LAST_SEQUENCE_IN_FLIGHT)
    }

    /// What a follower that lags by so much believes a stream's extent to be.
    #[must_use]
    pub fn stale(&self, stream: &str, now_ns: u64, lag_ns: u64) -> Option<Extent> {
        let extents = &self.assets.get(stream)?.extents;
        let seen = |(at_ns, _): &&(u64, Extent)| at_ns + lag_ns <= now_ns;
        extents.iter().rev().find(seen).map(|(_, extent)| *extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::wire::headers::Headers;

    const S: &str = "S";

    fn publish(subject: &str, headers: &[(&str, &str)]) -> Publish {
        let headers: Headers = headers.iter().copied().collect();
        Publish {
            subject: subject.to_owned(),
            reply: None,
            headers: headers.into(),
            payload: bytes::Bytes::new(),
        }
    }

    #[test]
    fn nobody_answers_while_nobody_leads() {
        let mut replicas = Replicas::default();
        assert_eq!((replicas.leader(S, 0), replicas.epoch(S)), (Leader::There, 0));
        replicas.lose_leader(S, 10, false);
        assert_eq!((replicas.leader(S, 9), replicas.epoch(S)), (Leader::Silent, 1));
        replicas.lose_leader(S, 20, true);
        assert_eq!((replicas.leader(S, 19), replicas.leader(S, 20)), (Leader::Missing, Leader::There));
        assert_eq!(replicas.leader("T", 9), Leader::There, "another stream has its own");
    }

    #[test]
    fn a_publish_without_quorum_stands_in_the_way_of_its_like() {
        let mut replicas = Replicas::default();
        let first = publish("a", &[(NATS_MSG_ID, "1"), (NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0")]);
        replicas.propose(S, 10, first.clone());
        assert_eq!(replicas.contradiction(S, &first), Some(err_code::DUPLICATE_IN_PROCESS));
        let rival = publish("a", &[(NATS_MSG_ID, "2"), (NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0")]);
        assert_eq!(replicas.contradiction(S, &rival), Some(err_code::WRONG_LAST_SEQUENCE_IN_FLIGHT));
        assert_eq!(replicas.contradiction(S, &publish("a", &[])), None, "nothing expected");
        assert_eq!(replicas.contradiction(S, &publish("b", &[(NATS_MSG_ID, "2")])), None);
        assert_eq!(replicas.decided(S, 9), []);
        assert_eq!(replicas.decided(S, 10), std::slice::from_ref(&first));
        assert_eq!(replicas.contradiction(S, &first), None);
    }

    #[test]
    fn a_follower_believes_what_was_true_a_while_ago() {
        let mut replicas = Replicas::default();
        for at in 1..=100 {
            replicas.committed(S, at * 10, Extent { messages: at, last_seq: at });
        }
        assert_eq!(replicas.stale(S, 1_000, 50), Some(Extent { messages: 95, last_seq: 95 }));
        assert_eq!(replicas.stale(S, 1_000, 900), None, "forgotten");
    }

    #[test]
    fn a_power_loss_takes_what_was_not_synced() {
        let mut replicas = Replicas::default();
        replicas.synced(S, 5);
        let mut rng = Rng::new(1);
        let left: Vec<u64> = (0..50).map(|_| replicas.after_power_loss(S, 9, &mut rng)).collect();
        assert!(left.iter().all(|seq| (5..=9).contains(seq)) && left.contains(&5) && left.contains(&9));
        assert_eq!(replicas.after_power_loss(S, 3, &mut rng), 3, "a log that was shortened before");
    }
}
