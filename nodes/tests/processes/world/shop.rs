//! A client of the shop over HTTP: what a customer, and an operator, can see.

use super::{LATER, SOON, eventually};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a node listens; a restarted one listens elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Address(Arc<Mutex<String>>);

impl Address {
    pub(super) fn new(url: String) -> Self {
        Self(Arc::new(Mutex::new(url)))
    }

    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, url: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of an RFC 9457 problem; fails when it is none.
    pub(crate) fn problem(&self) -> &str {
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        for field in ["type", "title", "detail"] {
            assert!(self.body[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {self:?}");
        }
        self.body["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}"))
    }
}

/// A command for one aggregate of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Empty for the default tenant.
    pub(crate) tenant: String,
    pub(crate) aggregate: &'static str,
    pub(crate) id: String,
    pub(crate) name: &'static str,
    pub(crate) payload: Value,
    pub(crate) command_id: String,
}

impl Command {
    pub(crate) fn new(tenant: &str, aggregate: &'static str, id: &str, name: &'static str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            aggregate,
            id: id.to_owned(),
            name,
            payload: json!({}),
            command_id: format!("{name}-{id}"),
        }
    }

    pub(crate) fn with(self, payload: Value) -> Self {
        Self { payload, ..self }
    }

    pub(crate) fn under(self, command_id: &str) -> Self {
        Self { command_id: command_id.to_owned(), ..self }
    }

    /// Orders two packets of tea for nine euros.
    pub(crate) fn place(tenant: &str, order: &str) -> Self {
        Self::new(tenant, "order", order, "place").with(json!({ "sku": "tea", "qty": 2, "cents": 900 }))
    }

    pub(crate) fn add_stock(tenant: &str, sku: &str, qty: u64) -> Self {
        Self::new(tenant, "stock", sku, "add").with(json!({ "qty": qty }))
    }
}

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    client: reqwest::Client,
    address: Address,
    traceparent: Option<String>,
}

impl Shop {
    /// One that asks at this URL.
    pub(crate) fn of(url: String) -> Self {
        Self::at(Address::new(url))
    }

    pub(super) fn at(address: Address) -> Self {
        // Longer than the gateway's own deadlines.
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(45)).build();
        Self { client: client.expect("a client"), address, traceparent: None }
    }

    /// What is asked for from now on is part of this trace.
    pub(crate) fn traced(self, trace_id: &str) -> Self {
        Self { traceparent: Some(format!("00-{trace_id}-00f067aa0ba902b7-01")), ..self }
    }

    /// A plain GET: status and body.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, Value), String> {
        let answer = self.get_as("", path).await?;
        Ok((answer.status, answer.body))
    }

    /// A plain GET, with its headers.
    pub(crate) async fn answer(&self, path: &str) -> Result<Answer, String> {
        self.get_as("", path).await
    }

    pub(crate) async fn get_as(&self, tenant: &str, path: &str) -> Result<Answer, String> {
        let request = self.client.get(format!("{}{path}", self.address.get()));
        self.send(tenant, request).await
    }

    /// A POST with any body, for commands that are none.
    pub(crate) async fn post(&self, path: &str, body: String) -> Result<Answer, String> {
        self.send("", self.client.post(format!("{}{path}", self.address.get())).body(body)).await
    }

    async fn send(&self, tenant: &str, mut request: reqwest::RequestBuilder) -> Result<Answer, String> {
        if !tenant.is_empty() {
            request = request.header("x-tenant-id", tenant);
        }
        if let Some(traceparent) = &self.traceparent {
            request = request.header("traceparent", traceparent);
        }
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.map_err(|error| format!("{error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    /// Sends a command once.
    pub(crate) async fn try_command(&self, command: &Command) -> Result<Answer, String> {
        let Command { tenant, aggregate, id, name, payload, command_id } = command;
        let url = format!("{}/v1/commands/{aggregate}/{}", self.address.get(), encoded(id));
        let body = json!({ "command": name, "payload": payload, "command_id": command_id });
        self.send(tenant, self.client.post(url).json(&body)).await
    }

    /// Sends a command until there is an answer to it, as a careful client does: under the same id, and no sooner than
    /// the answer says.
    pub(crate) async fn command(&self, command: &Command) -> Answer {
        eventually("a command is answered", LATER, async || {
            let answer = self.try_command(command).await?;
            if answer.body["retryable"] != json!(true) {
                return Ok(answer);
            }
            let after_ms = answer.body["retry_after_ms"].as_u64().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            Err(answer.body.to_string())
        })
        .await
    }

    /// A command that is accepted.
    pub(crate) async fn accepted(&self, command: &Command) -> Answer {
        let answer = self.command(command).await;
        assert!([200, 202].contains(&answer.status), "{command:?}: {answer:?}");
        answer
    }

    /// A row of a view; `None` when it is not there.
    pub(crate) async fn row(&self, tenant: &str, view: &str, id: &str) -> Result<Option<Value>, String> {
        let path = format!("/v1/query/{view}/{}", encoded(id));
        let answer = self.get_as(tenant, &path).await?;
        match answer.status {
            200 => Ok(Some(answer.body["row"].clone())),
            404 if answer.problem() == "row_not_found" => Ok(None),
            _ => Err(format!("{answer:?}")),
        }
    }

    /// Waits until an order has this status.
    pub(crate) async fn order_becomes(&self, tenant: &str, order: &str, status: &str) -> Value {
        let what = format!("order {order} of {tenant:?} becomes {status}");
        eventually(&what, SOON, async || {
            let row = self.row(tenant, "order_summary", order).await?.unwrap_or_default();
            if row["status"] == status { Ok(row) } else { Err(row.to_string()) }
        })
        .await
    }

    /// One page of a view.
    pub(crate) async fn page(&self, tenant: &str, view: &str, query: &str) -> Result<Answer, String> {
        self.get_as(tenant, &format!("/v1/query/{view}?{query}")).await
    }

    /// Every row of a view, by id.
    pub(crate) async fn rows(&self, tenant: &str, view: &str) -> Result<Vec<(String, Value)>, String> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.page(tenant, view, &format!("limit=50&after={}", encoded(&after))).await?;
            let own = page.body["rows"].as_array().ok_or_else(|| format!("{page:?}"))?;
            let id = |row: &Value| row["id"].as_str().unwrap_or_default().to_owned();
            rows.extend(own.iter().map(|row| (id(row), row["row"].clone())));
            match page.body["next"].as_str() {
                Some(next) => next.clone_into(&mut after),
                None => return Ok(rows),
            }
        }
    }

    /// Waits until an effect is on its way to the outside.
    pub(crate) async fn effect_under_way(&self) {
        eventually("an effect is under way", SOON, async || {
            let in_flight = self.metric("cloudlysis_effects_in_flight").await?;
            if in_flight > 0.0 { Ok(()) } else { Err(format!("{in_flight} in flight")) }
        })
        .await;
    }

    /// The value of a gauge or counter, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, String> {
        let (_, metrics) = self.get("/metrics").await?;
        let text = metrics.as_str().unwrap_or_default();
        let values: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
            .collect();
        if values.is_empty() { Err(format!("no metric {name}")) } else { Ok(values.iter().sum()) }
    }
}

/// As a segment of a path, or a value in a query.
fn encoded(raw: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    raw.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
