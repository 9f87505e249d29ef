//! The process as a whole, as messages.

use super::wire;
use crate::admin::drain::{Drained, Left, Process};
use crate::admin::fault::Fault;
use crate::admin::reload::{Change, Difference, Reloaded, Reloader};
use wire::manifest_change;

pub(super) async fn drain(
    process: &Process,
    request: wire::DrainRequest,
) -> Result<wire::DrainResponse, Fault> {
    let Drained { all, nodes } = process.drain(request.deadline_ms).await?;
    let nodes = nodes.into_iter().map(|(name, own)| (name.to_owned(), left(own))).collect();
    Ok(wire::DrainResponse { all: Some(left(all)), nodes })
}

fn left(Left { clean, in_flight, waiting }: Left) -> wire::Left {
    wire::Left { clean, in_flight: in_flight as u64, waiting }
}

pub(super) async fn reload(
    reloads: &Reloader,
    request: wire::ReloadRequest,
) -> Result<wire::ReloadResponse, Fault> {
    let Reloaded { changed, elsewhere, drained } = reloads.reload(request.deadline_ms).await?;
    Ok(wire::ReloadResponse {
        changed: changed.into_iter().map(change).collect(),
        elsewhere: elsewhere.into_iter().map(change).collect(),
        clean: drained.map(|own| own.clean),
        in_flight: drained.map(|own| own.in_flight as u64),
    })
}

fn change(Change { kind, name, change }: Change) -> wire::ManifestChange {
    let change = match change {
        Difference::Added => manifest_change::Difference::Added,
        Difference::Changed => manifest_change::Difference::Changed,
        Difference::Removed => manifest_change::Difference::Removed,
    };
    wire::ManifestChange { kind: kind.to_owned(), name: name.to_string(), change: change.into() }
}
