//! Every planted fault, with the oracle that must catch it.
//!
//! An oracle that has never caught anything is not known to work. Each row plants one fault in otherwise correct code,
//! runs seeds of the scenario that provokes it, and an oracle named for it must catch it. Consequences that other
//! oracles notice first are told, and do not count.

use crate::plan::Scenario;
use crate::run::Job;
use crate::trace::Keep;
use cloudlysis_core::Invariant;
use cloudlysis_core::quirks::Quirk;
use std::collections::BTreeSet;

/// A planted fault and what must catch it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mutant {
    /// The fault.
    pub quirk: Quirk,
    /// Where it shows.
    pub scenario: Scenario,
    /// The invariants it breaks; whichever is noticed first.
    pub killed_by: &'static [Invariant],
    /// Seeds it may take.
    pub seeds_max: u64,
}

/// What became of a planted fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hunt {
    /// The oracle named for it that caught it, and after how many seeds.
    pub killed: Option<(Invariant, u64)>,
    /// What else failed before that: a consequence that some world noticed first.
    pub noticed_by: BTreeSet<String>,
}

/// Runs seeds with the fault planted until an oracle named for it catches it.
#[must_use]
pub fn hunt(mutant: &Mutant, first_seed: u64) -> Hunt {
    let mut noticed_by = BTreeSet::new();
    for offset in 0..mutant.seeds_max {
        let seed = first_seed.wrapping_add(offset);
        let job = Job { seed, scenario: mutant.scenario, quirk: Some(mutant.quirk) };
        let Some(failure) = job.run(Keep::Nothing).0.failure else { continue };
        match failure.invariant() {
            Some(invariant) if mutant.killed_by.contains(&invariant) => {
                return Hunt { killed: Some((invariant, offset + 1)), noticed_by };
            }
            Some(invariant) => noticed_by.insert(invariant.id().to_owned()),
            None => noticed_by.insert("a panic".to_owned()),
        };
    }
    Hunt { killed: None, noticed_by }
}

const fn mutant(quirk: Quirk, scenario: Scenario, seeds_max: u64, killed_by: &'static [Invariant]) -> Mutant {
    Mutant { quirk, scenario, killed_by, seeds_max }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant(Quirk::DriverReleaseBeforeCommit, Scenario::Crashes, 100, &[Invariant::Drv1]),
    mutant(Quirk::AnswerTimeoutMeansRefused, Scenario::Network, 100, &[Invariant::Agg2]),
    mutant(Quirk::GateResumeTooFar, Scenario::Crashes, 100, &[Invariant::Gate2, Invariant::Prj2]),
    mutant(Quirk::GateIgnoreGap, Scenario::Network, 100, &[Invariant::Gate2, Invariant::Prj2]),
    mutant(Quirk::GateTrustAckFloor, Scenario::Operators, 300, &[Invariant::Prj2]),
    mutant(Quirk::GateCheckpointLate, Scenario::Calm, 100, &[Invariant::Gate3]),
    mutant(Quirk::GateTrustSequence, Scenario::Disaster, 300, &[Invariant::Div1]),
    mutant(Quirk::GateIgnoreHole, Scenario::Disaster, 300, &[Invariant::Div1]),
    mutant(Quirk::GateNeverAudit, Scenario::Disaster, 300, &[Invariant::Div1]),
    mutant(Quirk::GateBelieveAtOnce, Scenario::Cluster, 300, &[Invariant::Live1]),
    mutant(Quirk::GateIgnoreOwner, Scenario::Network, 100, &[Invariant::Gate7]),
    mutant(Quirk::GateIgnoreRival, Scenario::Network, 100, &[Invariant::Gate7]),
    mutant(Quirk::GateIgnoreStop, Scenario::Operators, 100, &[Invariant::Drn1]),
    mutant(Quirk::GateJoinForgets, Scenario::Calm, 300, &[Invariant::Prj2]),
    mutant(Quirk::GateJoinTooSoon, Scenario::Calm, 300, &[Invariant::Prj2]),
    mutant(Quirk::GateForgetPublished, Scenario::Disaster, 300, &[Invariant::Div1]),
    mutant(Quirk::OutboxTailNotPersisted, Scenario::Crashes, 100, &[Invariant::Drv2]),
    mutant(Quirk::OutboxDeleteOnUnknown, Scenario::Network, 100, &[Invariant::Out2]),
    mutant(Quirk::OutboxFreshIdPerAttempt, Scenario::Network, 300, &[Invariant::Once1]),
    mutant(Quirk::OutboxAcceptStale, Scenario::Outside, 100, &[Invariant::Out2]),
    mutant(Quirk::OutboxLooksAtLast, Scenario::Operators, 1_500, &[Invariant::Cons1]),
    mutant(Quirk::OutboxConflictIsForeign, Scenario::Network, 300, &[Invariant::Live1]),
    mutant(Quirk::OutboxNeverHeld, Scenario::Disaster, 1_000, &[Invariant::Div1]),
    mutant(Quirk::OutboxIgnoreLane, Scenario::Calm, 100, &[Invariant::Out1]),
    mutant(Quirk::OutboxGivesUpAtOnce, Scenario::Network, 300, &[Invariant::Out9]),
    mutant(Quirk::OutboxLaneRunsOn, Scenario::Network, 300, &[Invariant::Out8]),
    mutant(Quirk::OutboxGivesUpForGood, Scenario::Network, 300, &[Invariant::Out2, Invariant::Out8]),
    mutant(Quirk::OutboxCursorStays, Scenario::Crashes, 300, &[Invariant::Live1]),
    mutant(Quirk::OutboxCrowdedOut, Scenario::Calm, 100, &[Invariant::Out7]),
    mutant(Quirk::OutboxKeepsItsTurn, Scenario::Calm, 100, &[Invariant::Out7]),
    mutant(Quirk::SagaSkipDedupe, Scenario::Operators, 100, &[Invariant::Saga1]),
    mutant(Quirk::SagaForgetInFlight, Scenario::Calm, 100, &[Invariant::Saga3]),
    mutant(Quirk::SagaCompensateForwards, Scenario::Outside, 100, &[Invariant::Saga3]),
    mutant(
        Quirk::SagaReactWhenFinished,
        Scenario::Calm,
        500,
        &[Invariant::Saga2, Invariant::Saga7, Invariant::Keep1],
    ),
    mutant(Quirk::SagaIgnoreWhileUndoing, Scenario::Calm, 100, &[Invariant::Qrn1]),
    mutant(Quirk::SagaPauseLeaks, Scenario::Operators, 100, &[Invariant::Saga6]),
    mutant(Quirk::SagaForgetHeld, Scenario::Operators, 100, &[Invariant::Live1]),
    mutant(Quirk::SagaKillLeavesTimers, Scenario::Operators, 100, &[Invariant::Saga7]),
    mutant(Quirk::SagaFollowsManifest, Scenario::Crashes, 300, &[Invariant::Saga8]),
    mutant(Quirk::SagaRestartRepeats, Scenario::Operators, 300, &[Invariant::Saga9]),
    mutant(Quirk::SagaReplayForgets, Scenario::Network, 500, &[Invariant::Saga10]),
    mutant(Quirk::SagaReplayOvertakes, Scenario::Operators, 50, &[Invariant::Qrn1]),
    mutant(Quirk::SagaUnpinsTooSoon, Scenario::Calm, 100, &[Invariant::Saga8]),
    mutant(Quirk::SagaHandOverAhead, Scenario::Calm, 100, &[Invariant::Saga5]),
    mutant(Quirk::EffectKeyPerAttempt, Scenario::Outside, 100, &[Invariant::Eff2]),
    mutant(Quirk::EffectForgetInterrupted, Scenario::Crashes, 100, &[Invariant::Eff5]),
    mutant(Quirk::EffectRetryAtMostOnce, Scenario::Outside, 100, &[Invariant::Eff5]),
    mutant(Quirk::EffectRetryInDoubt, Scenario::Outside, 300, &[Invariant::Eff5]),
    mutant(Quirk::EffectSettleUntold, Scenario::Operators, 300, &[Invariant::Eff4]),
    mutant(Quirk::EffectAcceptStale, Scenario::Outside, 100, &[Invariant::Once1, Invariant::Qrn1]),
    mutant(Quirk::EffectForgetLedger, Scenario::Operators, 100, &[Invariant::Eff4]),
    mutant(Quirk::EffectPauseInDoubt, Scenario::Outside, 100, &[Invariant::Eff3]),
    mutant(Quirk::EffectCursorStays, Scenario::Crashes, 100, &[Invariant::Live1]),
    mutant(Quirk::EffectIgnoreCircuit, Scenario::Outside, 100, &[Invariant::Eff7]),
    mutant(Quirk::EffectNeverHeld, Scenario::Calm, 100, &[Invariant::Gate7]),
    mutant(Quirk::EffectIgnoreLane, Scenario::Calm, 300, &[Invariant::Eff8]),
    mutant(Quirk::EffectIgnoreRate, Scenario::Calm, 300, &[Invariant::Eff8]),
    mutant(Quirk::EffectIgnoreTime, Scenario::Outside, 100, &[Invariant::Eff6]),
    mutant(Quirk::AggregateConflictIsForeign, Scenario::Network, 300, &[Invariant::Agg2]),
    mutant(Quirk::AggregateForgetUnanswered, Scenario::Cluster, 2_000, &[Invariant::Agg2]),
    mutant(Quirk::AggregateNoExpectation, Scenario::Owners, 100, &[Invariant::Agg1]),
    mutant(Quirk::AggregateRefuseUnverified, Scenario::Owners, 100, &[Invariant::Agg7]),
    mutant(Quirk::AggregateRefusalNotRecorded, Scenario::Calm, 100, &[Invariant::Agg2]),
    mutant(Quirk::AggregateSnapshotOffByOne, Scenario::Calm, 100, &[Invariant::Agg6]),
    mutant(Quirk::AggregateTrustSequence, Scenario::Disaster, 300, &[Invariant::Div1]),
    mutant(Quirk::AggregateNeverAudit, Scenario::Disaster, 300, &[Invariant::Div1]),
    mutant(Quirk::ProjectionStaleRow, Scenario::Calm, 100, &[Invariant::Prj2]),
    mutant(Quirk::ProjectionSkipDedupe, Scenario::Operators, 100, &[Invariant::Prj2]),
    mutant(Quirk::ProjectionForgetTenant, Scenario::Calm, 100, &[Invariant::Ten1]),
    mutant(Quirk::ScheduleFireAndKeep, Scenario::Calm, 100, &[Invariant::Sch2]),
    mutant(Quirk::ScheduleTrustSleep, Scenario::Calm, 100, &[Invariant::Sch3]),
    mutant(Quirk::ScheduleHalfCancelled, Scenario::Calm, 100, &[Invariant::Sch1]),
    mutant(Quirk::RecurringFireAndStay, Scenario::Calm, 100, &[Invariant::Cron1]),
    mutant(Quirk::RecurringForgetMissed, Scenario::Operators, 300, &[Invariant::Cron3]),
    mutant(Quirk::RecurringTrustSleep, Scenario::Calm, 100, &[Invariant::Cron2]),
    mutant(Quirk::RecurringIgnoreOverlap, Scenario::Calm, 300, &[Invariant::Cron5]),
    mutant(Quirk::RecurringPauseLeaks, Scenario::Operators, 100, &[Invariant::Cron6]),
    mutant(Quirk::RecurringTriggerAgain, Scenario::Operators, 100, &[Invariant::Cron7]),
    mutant(Quirk::RecurringBackfillStays, Scenario::Operators, 100, &[Invariant::Cron7]),
    mutant(Quirk::QuarantineLetThrough, Scenario::Operators, 1_500, &[Invariant::Qrn1]),
    mutant(Quirk::QuarantineKeyRunsOn, Scenario::Operators, 300, &[Invariant::Qrn1]),
    mutant(Quirk::QuarantineCountsFirstOnly, Scenario::Operators, 300, &[Invariant::Qrn3]),
    mutant(Quirk::QuarantineFreeTooSoon, Scenario::Operators, 500, &[Invariant::Qrn1]),
    mutant(Quirk::QuarantineForgetFailed, Scenario::Operators, 500, &[Invariant::Qrn4]),
    mutant(Quirk::RetentionTooSoon, Scenario::Calm, 300, &[Invariant::Keep1]),
    mutant(Quirk::RetentionForgetsEffect, Scenario::Calm, 100, &[Invariant::Keep1]),
    mutant(Quirk::DrainCallsOn, Scenario::Operators, 300, &[Invariant::Drn5]),
    mutant(Quirk::DrainSendsOn, Scenario::Operators, 1_500, &[Invariant::Drn5]),
    mutant(Quirk::DrainClaimClean, Scenario::Operators, 300, &[Invariant::Drn2]),
];
