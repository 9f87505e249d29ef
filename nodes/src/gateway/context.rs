//! The context of an HTTP request: tenant, correlation, trace.

use crate::problem::Problem;
use axum::http::{HeaderMap, StatusCode};
use cloudlysis_core::wire::context::{Context, TraceParent};
use cloudlysis_core::wire::id::TenantId;

/// Whose request it is.
pub(crate) const TENANT_HEADER: &str = "x-tenant-id";

/// What a request belongs to. A correlation id and a trace are begun here when the caller brought none.
pub(crate) fn of(headers: &HeaderMap) -> Context {
    begun(headers).0
}

/// The same, and whether the trace begins here.
fn begun(headers: &HeaderMap) -> (Context, bool) {
    let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut context = Context::extract(get, &uuid::Uuid::now_v7().to_string());
    let begins_here = context.traceparent.is_none();
    if begins_here {
        let trace_id = uuid::Uuid::now_v7().simple().to_string();
        context.traceparent = TraceParent::from_trace_id(&trace_id).ok();
    }
    (context, begins_here)
}

/// Who asks, and what it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) tenant: TenantId,
    pub(crate) context: Context,
    /// The caller brought no trace.
    pub(super) begins_trace: bool,
}

impl RequestContext {
    /// Reads the headers.
    ///
    /// # Errors
    /// A problem when the tenant id is not one.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let tenant = match headers.get(TENANT_HEADER) {
            None => TenantId::default_tenant(),
            Some(raw) => raw
                .to_str()
                .map_err(|_| "it is not text".to_owned())
                .and_then(|raw| TenantId::parse(raw).map_err(|error| error.to_string()))
                .map_err(|error| {
                    let detail = format!("header {TENANT_HEADER}: {error}");
                    Problem::new(StatusCode::BAD_REQUEST, "invalid_tenant_id", detail)
                })?,
        };
        let (context, begins_trace) = begun(headers);
        Ok(Self { tenant, context, begins_trace })
    }

    /// The trace id, for logs.
    pub(super) fn trace_id(&self) -> &str {
        self.context.traceparent.as_ref().map(TraceParent::trace_id).unwrap_or_default()
    }
}
