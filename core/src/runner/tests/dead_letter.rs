//! What the outbox gave up on, through the whole path.

use super::redrive::reason;
use super::{OUTBOX_LIMITS, Status, World};
use crate::operator::Refusal;
use crate::quarantine::operate::{Operated, Verb};
use crate::quarantine::{QuarantineKey, QuarantinedKey};

impl World {
    /// A checkout whose first command nobody answers, until the outbox gives up.
    fn of_mute_aggregates() -> Self {
        let mut world = Self::bound();
        world.outside.is_mute = true;
        world.place("acme", "o-1");
        world.run();
        for _ in 0..4 {
            world.wait(OUTBOX_LIMITS.backoff_ms_max);
        }
        world.bench.oversleep(OUTBOX_LIMITS.retry_ms_max);
        for _ in 0..2 {
            world.wait(OUTBOX_LIMITS.backoff_ms_max);
        }
        world
    }

    fn only_key(&self) -> (QuarantineKey, QuarantinedKey) {
        let [own] = self.quarantined().try_into().expect("one key");
        (QuarantineKey::parse(&own.key).expect("a key"), own)
    }
}

#[test]
pub(super) fn what_nobody_answers_is_a_dead_letter_and_goes_on_when_it_is_replayed() {
    let mut world = World::of_mute_aggregates();
    let (key, own) = world.only_key();
    assert_eq!((own.key.as_str(), own.messages), ("deadletter:outbox:s:acme:checkout:o-1", 1));
    assert_eq!((own.cause.kind.as_str(), own.tenant_id), ("given_up", Some(super::tenant("acme"))));
    assert_eq!(world.status("acme", "o-1"), Some(Status::Running), "nobody knows whether it happened");

    let edit = Verb::Edit { key, position: 0, payload: b"{}".to_vec(), reason: reason() };
    let refused = world.do_with_held(edit);
    assert!(matches!(refused, Err(Refusal::Conflict { .. })), "{refused:?}");

    world.bench.crash();
    world.run();
    world.outside.is_mute = false;
    let again = world.replay_all();
    assert_eq!((again.released, again.applied, world.quarantined()), (1, 1, vec![]));
    world.run();
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
}

#[test]
fn what_fails_again_is_a_dead_letter_again() {
    let mut world = World::of_mute_aggregates();
    assert_eq!(world.replay_all().applied, 1);
    assert_eq!((world.quarantined(), world.bench.machine().outbox().depth()), (vec![], 1));
    for _ in 0..4 {
        world.wait(OUTBOX_LIMITS.backoff_ms_max);
    }
    assert_eq!(world.quarantined(), [], "it has as long as the first time");
    world.bench.oversleep(OUTBOX_LIMITS.retry_ms_max);
    for _ in 0..2 {
        world.wait(OUTBOX_LIMITS.backoff_ms_max);
    }
    assert_eq!(world.only_key().1.messages, 1);
}

#[test]
fn what_is_skipped_or_discarded_no_longer_holds_its_lane() {
    for skips in [true, false] {
        let mut world = World::of_mute_aggregates();
        let (key, _) = world.only_key();
        if skips {
            let done = world.do_with_held(Verb::Skip { key, position: 0, reason: reason() });
            assert!(matches!(done, Ok(Operated::Key { messages: 0, .. })), "{done:?}");
        } else {
            assert_eq!(world.discard_all().discarded, 1);
        }
        assert_eq!((world.quarantined(), world.bench.machine().outbox().depth()), (vec![], 0));
        assert_eq!(world.status("acme", "o-1"), Some(Status::Running), "it waits until it is cancelled");
    }
}
