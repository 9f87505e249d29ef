//! The projection nodes behind a gateway: each has the views of its partition's tenants.
//!
//! ```text
//! query ─► the node that had the tenant last ─► an answer
//!              └─ not its tenant, or nobody is known ─► the others, one after the other
//! ```
//!
//! A node says itself whose views it has, so a gateway need not know where tenants are placed.
//!
//! Limit: [`KNOWN_MAX`] tenants are remembered; then all are forgotten, and asked for anew.

use super::queries::problem;
use crate::problem::Problem;
use crate::proto::query::query_service_client::QueryServiceClient;
use axum::http::StatusCode;
use cloudlysis_core::wire::id::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// Tenants whose node is remembered.
const KNOWN_MAX: usize = 10_000;

/// The projection nodes.
#[derive(Clone, Debug)]
pub(super) struct Projections {
    nodes: Arc<[QueryServiceClient<Channel>]>,
    known: Arc<Mutex<HashMap<TenantId, usize>>>,
}

impl Projections {
    pub(super) fn new(nodes: impl IntoIterator<Item = Channel>) -> Self {
        Self { nodes: nodes.into_iter().map(QueryServiceClient::new).collect(), known: Arc::default() }
    }

    /// Asks whoever has the tenant.
    pub(super) async fn ask<Q, A, F>(
        &self,
        tenant: &TenantId,
        question: Q,
        deadline: Duration,
        call: impl Fn(QueryServiceClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Problem>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).copied();
        let others = (0..self.nodes.len()).filter(|at| Some(*at) != known);
        let mut silent = None;
        for at in known.into_iter().chain(others) {
            match once_more(&question, deadline, |request| call(self.nodes[at].clone(), request)).await {
                Ok(answer) => {
                    if known != Some(at) {
                        self.remember(tenant, at);
                    }
                    return Ok(answer);
                }
                Err(status) if status.code() == Code::FailedPrecondition => {}
                // It may be the one, or another that answers.
                Err(status) if is_silence(&status) => silent = Some(status),
                Err(status) => return Err(problem(&status)),
            }
        }
        Err(silent.map_or_else(|| nowhere(tenant), |status| problem(&status)))
    }

    fn remember(&self, tenant: &TenantId, at: usize) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(tenant.clone(), at);
    }
}

fn is_silence(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
}

fn nowhere(tenant: &TenantId) -> Problem {
    let detail = format!(
        "tenant `{}` is not placed, or in a partition that this gateway does not know",
        tenant.token()
    );
    Problem::new(StatusCode::NOT_FOUND, "tenant_not_placed", detail)
}

/// Asks, and once more when nobody answered: reading twice is harmless.
async fn once_more<Q: Clone, A, F>(
    question: &Q,
    deadline: Duration,
    mut call: impl FnMut(Request<Q>) -> F,
) -> Result<A, Status>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut ask = || {
        let mut request = Request::new(question.clone());
        request.set_timeout(deadline);
        call(request)
    };
    let answered = match ask().await {
        Err(status) if status.code() == Code::Unavailable => ask().await,
        answered => answered,
    };
    answered.map(Response::into_inner)
}
