//! A call takes the trace of its work along, so that the service that is called can go on with it.
//!
//! `traceparent` is the attempt's own span where spans leave (feature `otlp`), and what the work came with otherwise;
//! `tracestate` goes with it. A header of that name in the manifest stays as it is, and work without a trace sends none.
//!
//! Never sent: anything else of the context. Who wants the correlation id there says so in the manifest.

use super::otlp;
use cloudlysis_core::manifest::EffectRequest;
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::headers::{TRACEPARENT, TRACESTATE};
use tracing::Span;

/// Adds the headers.
pub(crate) fn take_along(span: &Span, context: Option<&Context>, request: &mut EffectRequest) {
    let headers = match request {
        EffectRequest::Http(request) => &mut request.headers,
        EffectRequest::Nats(request) => &mut request.headers,
        EffectRequest::Builtin(_) => return,
    };
    let Some(context) = context else { return };
    let Some(parent) = otlp::traceparent(span).or_else(|| context.traceparent.clone()) else { return };
    if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TRACEPARENT)) {
        return;
    }
    headers.push((TRACEPARENT.to_owned(), parent.as_str().to_owned()));
    if let Some(state) = &context.tracestate
        && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TRACESTATE))
    {
        headers.push((TRACESTATE.to_owned(), state.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::manifest::{HttpRequest, NatsRequest};
    use cloudlysis_core::wire::context::TraceParent;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(parent: Option<&str>) -> Context {
        let traceparent = parent.map(|raw| TraceParent::parse(raw).expect("a traceparent"));
        Context { traceparent, ..Context::generate("c-1") }
    }

    fn http(headers: &[(&str, &str)]) -> EffectRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let url = "http://127.0.0.1/".to_owned();
        EffectRequest::Http(HttpRequest {
            method: "POST",
            url,
            headers,
            secret_headers: [].into(),
            body: None,
        })
    }

    fn sent(context: Option<&Context>, mut request: EffectRequest) -> Vec<(String, String)> {
        take_along(&Span::none(), context, &mut request);
        match request {
            EffectRequest::Http(HttpRequest { headers, .. })
            | EffectRequest::Nats(NatsRequest { headers, .. }) => headers,
            EffectRequest::Builtin(_) => Vec::new(),
        }
    }

    #[test]
    fn a_call_takes_the_trace_of_its_work_along() {
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(sent(Some(&context(Some(PARENT))), http(&[])), one("traceparent", PARENT));
        let subject = "svc.charge".to_owned();
        let nats = NatsRequest { subject, headers: Vec::new(), secret_headers: [].into(), body: None };
        assert_eq!(sent(Some(&context(Some(PARENT))), EffectRequest::Nats(nats)), one("traceparent", PARENT));
        assert_eq!(sent(Some(&context(None)), http(&[])), []);
        assert_eq!(sent(None, http(&[])), []);
    }

    #[test]
    fn what_the_manifest_says_stays() {
        let own = [("Traceparent", "none of yours")];
        let expected = vec![("Traceparent".to_owned(), "none of yours".to_owned())];
        assert_eq!(sent(Some(&context(Some(PARENT))), http(&own)), expected);
    }
}
