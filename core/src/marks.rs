//! Sometimes-assertions as data: which rare branches a run reached.
//!
//! A machine says `cx.mark(Mark::GateDuplicate)`; the driver counts. The simulator fails when a registered mark is
//! never hit over its seeds; nodes export the counts, because a mark that production hits and simulation does not is
//! the best bug report there is.

macro_rules! marks {
    ($($mark:ident = $id:literal, $sentence:literal;)*) => {
        /// Every registered rare branch.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Mark { $(#[doc = $sentence] $mark,)* }

        impl Mark {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$mark,)*];

            /// Stable name, as metrics and reports print it.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$mark => $id,)* }
            }

            /// What happened when it is hit.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$mark => $sentence,)* }
            }
        }
    };
}

marks! {
    GateDuplicate = "gate_duplicate", "a message at or below the checkpoint was acked again and not applied";
    GateGap = "gate_gap", "a delivery skipped a consumer sequence: the consumer was positioned anew from the checkpoint";
    GateStaleGeneration = "gate_stale_generation", "a delivery of an earlier consumer generation was dropped";
    GatePullLost = "gate_pull_lost", "no message and no heartbeat for two heartbeats: the pull was given up";
    GateConsumerLost = "gate_consumer_lost", "the durable consumer vanished and was made again from the checkpoint";
    GateTailGap = "gate_tail_gap", "a heartbeat named a later delivery than was seen";
    GateBindUnknown = "gate_bind_unknown", "inspecting or positioning had no answer and was tried again";
    GateMoved = "gate_moved", "the consumer's leader changed: the gate bound anew, and looked whether the log is the same";
    GateLostSight = "gate_lost_sight", "a look at the stream had no answer: the gate bound anew before it went on";
    GateDoubted = "gate_doubted", "the stream contradicted what was seen of it: the gate looked again";
    GateTenantJoined = "gate_tenant_joined", "a tenant joined a partition that had read on without it";
    GateCaughtUp = "gate_caught_up", "tenants that had joined were as far as the others";
    GateForeign = "gate_foreign", "a message of another partition's tenant was passed over";
    GateAdopted = "gate_adopted", "a stream that is another one by now was adopted and read from its beginning";
    OutboxRetryUnknown = "outbox_retry_unknown", "a dispatch without an answer was tried again under the same id";
    OutboxRetryBusy = "outbox_retry_busy", "a dispatch was definitely not done and was tried again";
    OutboxStale = "outbox_stale", "a completion of an earlier attempt was dropped";
    OutboxFoundOwn = "outbox_found_own", "the expectation failed and the look found our own earlier publish";
    OutboxForeign = "outbox_foreign", "the subject of a unique id holds somebody else's message";
    OutboxWindowFull = "outbox_window_full", "the window of tracked entries was full: the rest waits on disk";
    OutboxLaneBlocked = "outbox_lane_blocked", "an entry waited for an earlier one of its lane";
    OutboxGaveUp = "outbox_gave_up", "an entry was tried for too long and is kept until an operator lets it go again";
    OutboxLetGo = "outbox_let_go", "what was given up on is tried again because an operator asked for it";
    OutboxHeld = "outbox_held", "something was stored while its stream was not known to be ours: it is looked at again";
    SagaDuplicateCause = "saga_duplicate_cause", "an event that was already applied to its saga was ignored";
    SagaAbsorbed = "saga_absorbed", "an event for a finished saga was ignored";
    SagaCompensated = "saga_compensated", "a saga finished by compensating";
    SagaCompensationWaited = "saga_compensation_waited", "compensation waited for work still in flight";
    SagaCancelled = "saga_cancelled", "an operator had a saga undone";
    SagaKilled = "saga_killed", "an operator ended a saga as it was";
    SagaPinned = "saga_pinned", "an instance reacted by a definition that is not today's any more";
    SagaReplayed = "saga_replayed", "an event that a saga's consumer had passed came again because an operator asked for it";
    SagaRestarted = "saga_restarted", "an operator had an instance that had ended begin again";
    SagaMigrated = "saga_migrated", "an operator had an instance react by today's definition";
    InstanceRetired = "instance_retired", "a finished instance was kept long enough and removed";
    EffectRetired = "effect_retired", "a settled effect was kept long enough and removed";
    SagaHeld = "saga_held", "something came for a paused saga and was held";
    SagaUncorrelated = "saga_uncorrelated", "a result arrived for a saga that does not exist";
    EffectDuplicate = "effect_duplicate", "a command whose effect is already known was not executed again";
    EffectRetryUnknown = "effect_retry_unknown", "a call without an answer was repeated under the same idempotency key";
    EffectResumed = "effect_resumed", "a call that had started before a restart was repeated under the same key";
    EffectStale = "effect_stale", "the answer to an earlier attempt was dropped";
    EffectParked = "effect_parked", "an effect ran out of attempts, or may not be repeated, and waits for a person";
    EffectRetriedByHand = "effect_retried_by_hand", "an effect that waited for a person was called again because an operator asked for it";
    EffectSettledByHand = "effect_settled_by_hand", "an effect ended as an operator said";
    EffectOutOfTime = "effect_out_of_time", "an effect that was still not done when its time was used up waits for a person";
    EffectCircuitOpened = "effect_circuit_opened", "an upstream failed to answer so often that it was left alone for a while";
    EffectProbed = "effect_probed", "one call was let through to see whether an upstream answers again";
    EffectHeld = "effect_held", "an effect waited for its upstream to answer again";
    EffectForgotten = "effect_forgotten", "an effect waited for its upstream on disk only, so that others had their turn";
    EffectLaneFull = "effect_lane_full", "an effect waited because as many calls as may be were under way under its key";
    EffectLanePaced = "effect_lane_paced", "an effect waited because as many calls as may had begun under its key of late";
    EffectLaneForgotten = "effect_lane_forgotten", "an effect waited for its turn under its key on disk only";
    EffectLanesCrowded = "effect_lanes_crowded", "an effect waited because more keys than can be looked after were in use";
    EffectHandedBack = "effect_handed_back", "an effect that was handed over inside a commit gave its result back inside one";
    EffectQueued = "effect_queued", "an effect waited on disk for a place among the running ones";
    ScheduleCrowded = "schedule_crowded", "more timers were due than fire in one step";
    RecurringMissed = "recurring_missed", "occurrences of a schedule were too old, or too many, to be caught up with";
    RecurringSkipped = "recurring_skipped", "an occurrence was left out because the one before still ran";
    RecurringQueued = "recurring_queued", "an occurrence waited for the end of the one before";
    RecurringResumed = "recurring_resumed", "a schedule went on with what had fallen due while it was paused";
    RecurringTriggered = "recurring_triggered", "an occurrence fired because an operator asked for one";
    RecurringBackfilled = "recurring_backfilled", "an occurrence of a time that has passed fired because an operator asked for it";
    RecurringBackfillWaited = "recurring_backfill_waited", "an occurrence of a time that has passed waited for the end of another one";
    RecurringAskedAgain = "recurring_asked_again", "an operator asked again for what was done already, and nothing fired";
    TimerStale = "timer_stale", "a timer fired that its saga no longer waits for";
    QuarantineParked = "quarantine_parked", "a message that cannot be applied was parked";
    QuarantineFollowed = "quarantine_followed", "a later message of a quarantined key was parked behind it";
    QuarantineReplayed = "quarantine_replayed", "a parked message was applied when an operator asked for it";
    QuarantineDiscarded = "quarantine_discarded", "a parked message was dropped with its selection";
    QuarantineFailedAgain = "quarantine_failed_again", "a parked message could not be applied again";
    AggregateDuplicate = "aggregate_duplicate", "a command id that was already answered got the same answer";
    AggregateConflict = "aggregate_conflict", "somebody else appended first: the command was decided again";
    AggregateFoundOwn = "aggregate_found_own", "after a conflict or an unknown append, the look found our own events";
    AggregateUnknown = "aggregate_unknown", "an append had no answer";
    AggregateGaveUp = "aggregate_gave_up", "the attempts for a command ran out and its outcome stayed unknown";
    AggregateBusy = "aggregate_busy", "a command was refused because a queue was full";
    AggregateVerified = "aggregate_verified", "a refusal was decided again on the state read from the stream";
    AggregateStale = "aggregate_stale", "an answer to an earlier attempt was dropped";
    AggregateUnreadable = "aggregate_unreadable", "an aggregate's history cannot be read: its commands are refused";
    AggregateDoubted = "aggregate_doubted", "the stream contradicted what was seen of it: the node looked again";
    AggregateSameRefusal = "aggregate_same_refusal", "a refused command id got the same refusal again";
    ProjectionDeleted = "projection_deleted", "a view row was removed by its program";
    ProjectionRepeated = "projection_repeated", "events that a view has applied came again under another sequence";
    ProjectionHole = "projection_hole", "an event came whose predecessor a view has never seen";
    DrainForced = "drain_forced", "the drain deadline passed with work still in flight";
}

/// How often each mark was hit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarkCounts([u64; Mark::ALL.len()]);

impl Default for MarkCounts {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl MarkCounts {
    pub(crate) fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often this one was hit.
    #[must_use]
    pub const fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own += other;
        }
    }

    /// Every mark with its count, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> {
        Mark::ALL.iter().map(|mark| (*mark, self.count(*mark)))
    }
}
