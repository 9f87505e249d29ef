//! Planted faults: the exam of the simulator.
//!
//! Each is one line at one site, off unless the feature `quirks` is built and the fault is planted at run time. The
//! table in `sim-tests` names the oracle that must catch each one and the seeds it may take; a tidy test checks that
//! every fault is listed there. Without the feature, [`Quirks::has`] is a constant `false` and the sites vanish. Each is
//! also noticed by a test of its own machine.

#[cfg(test)]
mod tests;

macro_rules! quirks {
    ($($quirk:ident = $sentence:literal;)*) => {
        /// Every planted fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Quirk { $(#[doc = $sentence] $quirk,)* }

        impl Quirk {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$quirk,)*];

            /// What is wrong.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$quirk => $sentence,)* }
            }
        }
    };
}

quirks! {
    DriverReleaseBeforeCommit = "the driver releases effects although the commit failed";
    AnswerTimeoutMeansRefused = "adapters report silence as a definite refusal";
    GateResumeTooFar = "the gate positions its consumer one message too far after its checkpoint";
    GateIgnoreGap = "the gate ignores a skipped consumer sequence";
    GateTrustAckFloor = "the gate believes that everything below the consumer's ack floor was applied";
    GateCheckpointLate = "the checkpoint is written in a later turn than what it covers";
    GateTrustSequence = "the gate takes a sequence for the message that stood there";
    GateIgnoreHole = "the gate does not count what is missing";
    GateNeverAudit = "a bound gate never looks at its stream again";
    GateBelieveAtOnce = "the gate stops at the first contradiction";
    GateIgnoreOwner = "the gate takes over the consumer of another store";
    GateIgnoreRival = "the gate goes on beside another partition that has a tenant of its own";
    GateIgnoreStop = "a gate goes on when it is stopped";
    GateJoinForgets = "what a tenant said before it joined is not caught up with";
    GateJoinTooSoon = "a tenant that joined is taken to be as far as the others after one message";
    GateForgetPublished = "the gate forgets which messages of our own must be there";
    OutboxTailNotPersisted = "the outbox forgets its tail when it empties, and reuses positions";
    OutboxDeleteOnUnknown = "the outbox removes an entry without an answer";
    OutboxFreshIdPerAttempt = "every attempt leaves under an id of its own, without expecting to be the first";
    OutboxAcceptStale = "the outbox accepts the answer to an earlier attempt as the answer to the present one";
    OutboxConflictIsForeign = "a conflict is taken for somebody else's message and the entry tried for ever";
    OutboxLaneRunsOn = "what is behind an entry that was given up on leaves before it";
    OutboxGivesUpAtOnce = "an entry is given up on however short it was tried";
    OutboxGivesUpForGood = "what was given up on is forgotten";
    OutboxLooksAtLast = "a conflict is looked into where somebody may have put a message behind ours";
    OutboxNeverHeld = "what was decided leaves before the streams are known to be ours";
    OutboxIgnoreLane = "the entries of one lane leave side by side";
    OutboxCursorStays = "the outbox goes on looking for entries where it has looked in vain";
    OutboxCrowdedOut = "the window in memory is filled as if there were one tenant";
    OutboxKeepsItsTurn = "a tenant that has more to send goes on before the others";
    SagaSkipDedupe = "the saga does not remember what it has applied";
    SagaForgetInFlight = "compensation forgets work that is still in flight";
    SagaCompensateForwards = "compensation runs first to last";
    SagaReactWhenFinished = "a finished saga goes on reacting";
    SagaIgnoreWhileUndoing = "what a work item brings back while its saga undoes is not kept";
    SagaPauseLeaks = "a paused saga goes on reacting";
    SagaForgetHeld = "what was held for a paused saga is forgotten when it goes on";
    SagaKillLeavesTimers = "the timers of a killed saga go on";
    SagaFollowsManifest = "a running saga reacts by its manifest of today";
    SagaReplayForgets = "a replayed event begins a saga that was there, has ended and is forgotten";
    SagaReplayOvertakes = "a replayed event is applied though what its saga's consumer reads from its subject is quarantined";
    SagaRestartRepeats = "a restarted saga asks for the same work as before";
    SagaUnpinsTooSoon = "a definition is forgotten when the first of its instances ends";
    SagaHandOverAhead = "an effect is handed over while a command of its saga is still on its way";
    EffectKeyPerAttempt = "every attempt of an effect has a key of its own";
    EffectForgetInterrupted = "a call that a crash cut off leaves no doubt";
    EffectRetryAtMostOnce = "an effect of at most once is repeated after silence";
    EffectRetryInDoubt = "what may happen at most once and may have happened is called again without anybody saying that it may";
    EffectSettleUntold = "nobody is told how an effect ended that an operator settled";
    EffectAcceptStale = "the answer to an earlier attempt settles the present one";
    EffectForgetLedger = "a redelivered effect command is executed again";
    EffectPauseInDoubt = "the row of an effect says that an attempt is under way while it pauses after one";
    EffectCursorStays = "the effects go on looking for commands where they have looked in vain";
    EffectIgnoreCircuit = "an upstream is called although its circuit is open";
    EffectIgnoreTime = "an effect is tried again although its time is used up";
    EffectNeverHeld = "effects are called before the streams are known to be ours";
    EffectIgnoreLane = "a call begins although as many are under way under its key as may be";
    EffectIgnoreRate = "a call begins although as many have begun under its key as may in a second";
    AggregateConflictIsForeign = "a conflict after an unknown append is taken for somebody else's";
    AggregateForgetUnanswered = "that an attempt was turned down is taken for the end of an earlier one without an answer";
    AggregateNoExpectation = "an append does not expect the sequence it was decided on";
    AggregateRefuseUnverified = "a refusal is given on the state at hand";
    AggregateRefusalNotRecorded = "a refusal that somebody acts on is known to one owner only";
    AggregateSnapshotOffByOne = "the version of the state on record is off by one";
    AggregateTrustSequence = "the aggregate takes a sequence for the message that stood there";
    AggregateNeverAudit = "a bound aggregate node never looks at its stream again";
    ProjectionStaleRow = "a view's row is computed from what the row was at the start of the turn";
    ProjectionSkipDedupe = "a view does not remember what it has applied";
    ProjectionForgetTenant = "the view key ignores the tenant";
    ScheduleFireAndKeep = "a timer that has fired stays in its tables";
    ScheduleTrustSleep = "a timer fires when the machine wakes up, whatever the clock says";
    ScheduleHalfCancelled = "a cancelled timer is removed from one table only";
    RecurringFireAndStay = "an occurrence that has fired is still the next one";
    RecurringForgetMissed = "what fell due while nobody looked is forgotten";
    RecurringTrustSleep = "an occurrence fires when the machine wakes up, whatever the clock says";
    RecurringIgnoreOverlap = "an occurrence fires although the one before runs";
    RecurringPauseLeaks = "a paused schedule goes on firing";
    RecurringTriggerAgain = "a request to fire that was done already is done again";
    RecurringBackfillStays = "a backfill that has fired an occurrence is still before it";
    QuarantineLetThrough = "a quarantined key lets later messages through";
    QuarantineKeyRunsOn = "a key goes on where a longer subject goes on";
    QuarantineCountsFirstOnly = "a group does not count what is parked behind the first message of a key";
    QuarantineFreeTooSoon = "a key is free when its first message has left, although others wait";
    QuarantineForgetFailed = "a message that fails again is dropped";
    RetentionTooSoon = "what has ended is removed in half the time it is to be kept";
    RetentionForgetsEffect = "a settled effect is not indexed, and kept for ever";
    DrainCallsOn = "a stopped runner begins calls";
    DrainSendsOn = "the outbox of a runner that has reported its drain goes on";
    DrainClaimClean = "a drain reports clean with work in flight";
}

/// Which faults are planted in this machine: none, or exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quirks {
    #[cfg(any(test, feature = "quirks"))]
    planted: Option<Quirk>,
}

impl Quirks {
    /// No fault: what production builds cannot help having.
    pub const NONE: Self = Self {
        #[cfg(any(test, feature = "quirks"))]
        planted: None,
    };

    /// Plants one fault.
    #[cfg(any(test, feature = "quirks"))]
    #[must_use]
    pub const fn planted(quirk: Quirk) -> Self {
        Self { planted: Some(quirk) }
    }

    /// Whether this fault is planted.
    #[must_use]
    pub fn has(self, quirk: Quirk) -> bool {
        #[cfg(any(test, feature = "quirks"))]
        {
            self.planted == Some(quirk)
        }
        #[cfg(not(any(test, feature = "quirks")))]
        {
            let _ = quirk;
            false
        }
    }
}
