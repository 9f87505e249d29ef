//! The outside world that effects call: the example shop's services, with their weaknesses.
//!
//! Every execution is on record, with when and under which key, because oracles count what really happened, not what
//! was answered.

use cloudlysis_core::effect::Answered;
use cloudlysis_core::manifest::EffectRequest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a service makes of idempotency keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// A repeated key gets the first answer and nothing happens.
    Honoured,
    /// A repeated key gets the first answer for a while; then it is lost, and the request happens again.
    Lost,
    /// Every request happens.
    Ignored,
}

/// How long a service that loses keys remembers one.
const REMEMBERED_NS: u64 = 5_000_000_000;

/// What a service does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Service {
    /// Takes money.
    Charge,
    /// Gives it back.
    Refund,
    /// Sends a parcel.
    Parcel,
    /// Sends a mail.
    Receipt,
    /// Counts how often it is called.
    Counter,
}

/// Something that really happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Execution {
    /// When.
    pub at_ns: u64,
    /// What.
    pub service: Service,
    /// Under which key.
    pub key: String,
    /// Whose, says the request.
    pub tenant: String,
    /// For which order.
    pub order: String,
    /// How much, where money moves.
    pub cents: u64,
    /// Whether it was done; a refusal is an execution too.
    pub done: bool,
}

/// The services.
#[derive(Clone, PartialEq, Debug)]
pub struct Outside {
    answers: BTreeMap<String, (u64, Answered)>,
    executions: Vec<Execution>,
    payments_and_parcels: Keys,
}

impl Outside {
    /// Services whose payments and parcels treat keys like this; mail never knows any.
    #[must_use]
    pub const fn new(payments_and_parcels: Keys) -> Self {
        Self { answers: BTreeMap::new(), executions: Vec::new(), payments_and_parcels }
    }

    /// What really happened, in order.
    #[must_use]
    pub fn executions(&self) -> &[Execution] {
        &self.executions
    }

    /// Whether a service makes something of keys.
    #[must_use]
    pub const fn keys_of(&self, service: Service) -> Keys {
        match service {
            Service::Receipt => Keys::Ignored,
            Service::Charge | Service::Refund | Service::Parcel | Service::Counter => {
                self.payments_and_parcels
            }
        }
    }

    /// One request arrives.
    pub fn call(&mut self, at_ns: u64, request: &EffectRequest, key: &str) -> Answered {
        let service = match request {
            EffectRequest::Http(request) => service_of(&request.url),
            EffectRequest::Nats(request) => service_of(&request.subject.replace('.', "/")),
            EffectRequest::Builtin(request) => {
                return Answered { status: request.status, body: request.body.clone() };
            }
        };
        let Some(service) = service else {
            return Answered { status: 404, body: Value::Null };
        };
        let remembered = |answered_ns: u64| match self.keys_of(service) {
            Keys::Honoured => true,
            Keys::Lost => at_ns < answered_ns + REMEMBERED_NS,
            Keys::Ignored => false,
        };
        if let Some((_, answer)) = self.answers.get(key).filter(|(answered_ns, _)| remembered(*answered_ns)) {
            return answer.clone();
        }
        let body = request.body().cloned().unwrap_or_default();
        let id = self.executions.len() + 1;
        let answer = match service {
            Service::Charge if body["card"] == "declined" => {
                Answered { status: 402, body: json!({ "error": "card declined" }) }
            }
            Service::Parcel if body["sku"] == "unshippable" => {
                Answered { status: 422, body: json!({ "error": "no carrier takes it" }) }
            }
            Service::Charge => Answered { status: 201, body: json!({ "id": format!("charge-{id}") }) },
            Service::Refund => Answered { status: 201, body: json!({ "id": format!("refund-{id}") }) },
            Service::Parcel => Answered { status: 201, body: json!({ "id": format!("parcel-{id}") }) },
            Service::Receipt => Answered { status: 202, body: json!({ "id": format!("receipt-{id}") }) },
            Service::Counter => Answered { status: 200, body: json!({ "counted": id }) },
        };
        let tenant =
            request.headers().iter().find(|(name, _)| name == "x-tenant-id").map(|(_, value)| value.clone());
        self.executions.push(Execution {
            at_ns,
            service,
            key: key.to_owned(),
            tenant: tenant.unwrap_or_default(),
            order: body["order"].as_str().unwrap_or_default().to_owned(),
            cents: body["cents"].as_u64().unwrap_or_default(),
            done: answer.status < 300,
        });
        self.answers.insert(key.to_owned(), (at_ns, answer.clone()));
        answer
    }
}

fn service_of(url: &str) -> Option<Service> {
    [
        ("/payments/charges", Service::Charge),
        ("/payments/refunds", Service::Refund),
        ("/shipping/parcels", Service::Parcel),
        ("/mail/receipts", Service::Receipt),
        ("/counter/ticks", Service::Counter),
    ]
    .into_iter()
    .find(|(path, _)| url.ends_with(path))
    .map(|(_, service)| service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::manifest::HttpRequest;

    /// How often a charge happens that is asked for at once, again, and long after.
    fn charges(keys: Keys) -> usize {
        let mut outside = Outside::new(keys);
        let request = EffectRequest::Http(HttpRequest {
            method: "POST",
            url: "http://127.0.0.1:7070/payments/charges".into(),
            headers: Vec::new(),
            secret_headers: [].into(),
            body: Some(json!({ "order": "o-1", "cents": 900, "card": "valid" })),
        });
        for at_ns in [0, 1, REMEMBERED_NS] {
            assert_eq!(outside.call(at_ns, &request, "k").status, 201);
        }
        outside.executions().len()
    }

    #[test]
    fn services_honour_lose_or_ignore_keys() {
        assert_eq!((charges(Keys::Honoured), charges(Keys::Lost), charges(Keys::Ignored)), (1, 2, 3));
    }
}
