//! The audit of effects, as messages.

use super::{tenant, wire};
use crate::admin::effects::{Effects, Judged, Unknown};
use crate::admin::fault::Fault;
use cloudlysis_core::effect::audit::{Counts, Doubtful, Verdict};

pub(super) fn audit(
    effects: &Effects,
    request: wire::AuditEffectsRequest,
) -> Result<wire::AuditEffectsResponse, Fault> {
    let wire::AuditEffectsRequest { tenant_id, after } = request;
    let Judged { counts, doubtful, next } = effects.ledger(tenant(tenant_id)?.as_ref(), &after)?;
    let counts = counts.into_iter().map(|(effect, own)| (effect.to_string(), counted(own))).collect();
    let doubtful = doubtful.into_iter().map(doubted).collect();
    Ok(wire::AuditEffectsResponse { counts, doubtful, next: next.unwrap_or_default() })
}

fn counted(counts: Counts) -> wire::EffectCounts {
    let Counts { once, maybe_twice, refused, maybe, never, by_hand, open } = counts;
    wire::EffectCounts { once, maybe_twice, refused, maybe, never, by_hand, open }
}

fn doubted(doubtful: Doubtful) -> wire::DoubtfulEffect {
    let Doubtful { tenant_id, effect, command_id, verdict, attempts, ambiguous, since, reason } = doubtful;
    let verdict = match verdict {
        Verdict::Once => wire::Verdict::Once,
        Verdict::MaybeTwice => wire::Verdict::MaybeTwice,
        Verdict::Refused => wire::Verdict::Refused,
        Verdict::Maybe => wire::Verdict::Maybe,
        Verdict::Never => wire::Verdict::Never,
        Verdict::ByHand => wire::Verdict::ByHand,
        Verdict::Open => wire::Verdict::Open,
    };
    wire::DoubtfulEffect {
        tenant_id: tenant_id.to_string(),
        effect: effect.to_string(),
        command_id: command_id.to_string(),
        verdict: verdict.into(),
        attempts,
        ambiguous,
        since_ms: since.as_ms(),
        reason,
    }
}

pub(super) async fn unknown(
    effects: &Effects,
    request: wire::FindUnknownEffectsRequest,
) -> Result<wire::FindUnknownEffectsResponse, Fault> {
    let Unknown { stored, unknown, subjects } = effects.unknown(tenant(request.tenant_id)?.as_ref()).await?;
    Ok(wire::FindUnknownEffectsResponse { stored: stored as u64, unknown: unknown as u64, subjects })
}
