//! Planted faults: the exam of the simulator.
//!
//! Each is one line at one site, off unless the feature `quirks` is built and the fault is planted at run time. The
//! table in `sim-tests` names the oracle that must catch each one and the seeds it may take; a tidy test checks that
//! every fault is listed there. Without the feature, [`Quirks::has`] is a constant `false` and the sites vanish.

/// Every planted fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Quirk {
    /// The driver releases effects although the commit failed.
    DriverReleaseBeforeCommit,
    /// Adapters report silence as a definite refusal.
    AnswerTimeoutMeansRefused,
    /// The gate positions its consumer at the checkpoint instead of after it, and applies what it has applied.
    GateResumeAtCheckpoint,
    /// The gate ignores a skipped consumer sequence.
    GateIgnoreGap,
    /// The gate believes that everything below the consumer's ack floor was applied.
    GateTrustAckFloor,
    /// The checkpoint is written in a later turn than what it covers.
    GateCheckpointLate,
    /// The outbox forgets its tail when it empties, and reuses positions.
    OutboxTailNotPersisted,
    /// The outbox removes an entry without an answer.
    OutboxDeleteOnUnknown,
    /// Every attempt leaves under an id of its own, without expecting to be the first.
    OutboxFreshIdPerAttempt,
    /// The outbox accepts the answer to an earlier attempt as the answer to the present one.
    OutboxAcceptStale,
    /// A conflict is taken for somebody else's message and the entry tried for ever.
    OutboxConflictIsForeign,
    /// The saga does not remember what it has applied.
    SagaSkipDedupe,
    /// Compensation forgets work that is still in flight.
    SagaForgetInFlight,
    /// Compensation runs first to last.
    SagaCompensateForwards,
    /// A finished saga goes on reacting.
    SagaReactWhenFinished,
    /// Every attempt of an effect has a key of its own.
    EffectKeyPerAttempt,
    /// An effect of at most once is repeated after silence.
    EffectRetryAtMostOnce,
    /// The answer to an earlier attempt settles the present one.
    EffectAcceptStale,
    /// A redelivered effect command is executed again.
    EffectForgetLedger,
    /// A conflict after an unknown append is taken for somebody else's.
    AggregateConflictIsForeign,
    /// An append does not expect the sequence it was decided on.
    AggregateNoExpectation,
    /// A refusal is given on the state at hand.
    AggregateRefuseUnverified,
    /// The version of the state on record is off by one.
    AggregateSnapshotOffByOne,
    /// A view's row is computed from what the row was at the start of the turn.
    ProjectionStaleRow,
    /// The view key ignores the tenant.
    ProjectionForgetTenant,
    /// A quarantined key lets later messages through.
    QuarantineLetThrough,
    /// A drain reports clean with work in flight.
    DrainClaimClean,
}

/// Which faults are planted in this machine: none, or exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quirks {
    #[cfg(feature = "quirks")]
    planted: Option<Quirk>,
}

impl Quirks {
    /// No fault: what production builds cannot help having.
    pub const NONE: Self = Self {
        #[cfg(feature = "quirks")]
        planted: None,
    };

    /// Plants one fault.
    #[cfg(feature = "quirks")]
    #[must_use]
    pub const fn planted(quirk: Quirk) -> Self {
        Self { planted: Some(quirk) }
    }

    /// Whether this fault is planted.
    #[must_use]
    pub fn has(self, quirk: Quirk) -> bool {
        #[cfg(feature = "quirks")]
        {
            self.planted == Some(quirk)
        }
        #[cfg(not(feature = "quirks"))]
        {
            let _ = quirk;
            false
        }
    }
}
