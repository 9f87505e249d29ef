//! Calls about consumers: from subject and JSON to what JetStream is asked.
//!
//! The real server is not equally strict with all of them: what resets and unpins may have unknown fields, and where a
//! body may be absent, one that is neither an object nor an array is as good as absent.

use super::{error, invalid_json, negative_replicas, no_body, not_an_object, typed, without_nulls};
use crate::broker::call::{Api, Call};
use crate::jetstream::api::{ApiError, ConsumerConfig, PullRequest, err_code};
use crate::jetstream::{self, ConsumerAction, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

type Asked = Result<Request, ApiError>;

/// Reads a call whose subject is `$JS.API.CONSUMER.<call>`.
pub(super) fn decode(call: &[&str], body: &[u8]) -> Option<(Api, Asked)> {
    Some(match *call {
        ["CREATE", stream] => (Api::ConsumerCreate, create(stream, None, None, body)),
        ["CREATE", stream, consumer] => (Api::ConsumerCreate, create(stream, Some(consumer), None, body)),
        ["CREATE", stream, consumer, ref filter @ ..] => {
            (Api::ConsumerCreate, create(stream, Some(consumer), Some(filter.join(".")), body))
        }
        ["DURABLE", "CREATE", stream, consumer] => {
            (Api::ConsumerCreate, create_durable(stream, consumer, body))
        }
        ["INFO", stream, consumer] => {
            let request = Request::ConsumerInfo { stream: stream.into(), consumer: consumer.into() };
            (Api::ConsumerInfo, no_body(body).map(|()| request))
        }
        ["DELETE", stream, consumer] => {
            let request = Request::ConsumerDelete { stream: stream.into(), consumer: consumer.into() };
            (Api::ConsumerDelete, no_body(body).map(|()| request))
        }
        ["PAUSE", stream, consumer] => (Api::ConsumerPause, pause(stream, consumer, body)),
        ["RESET", stream, consumer] => (Api::ConsumerReset, reset(stream, consumer, body)),
        ["UNPIN", stream, consumer] => (Api::ConsumerUnpin, unpin(stream, consumer, body)),
        ["NAMES", stream] => {
            let request = |offset| Request::ConsumerNames { stream: stream.into(), offset };
            (Api::ConsumerNames, page(body).map(request))
        }
        ["LIST", stream] => {
            let request = |offset| Request::ConsumerList { stream: stream.into(), offset };
            (Api::ConsumerList, page(body).map(request))
        }
        ["LEADER", "STEPDOWN", _, _] => {
            (Api::ConsumerStepDown, Err(error(503, 10_010, "JetStream clustering support required")))
        }
        _ => return None,
    })
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|why| {
        if why.is_eof() { invalid_json("unexpected end of JSON input") } else { invalid_json(why) }
    })
}

/// Reads a body that may be absent, or is as good as absent.
fn optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    match body.trim_ascii_start().first() {
        Some(b'{' | b'[') => typed(without_nulls(parse(body)?)),
        Some(_) | None => Ok(T::default()),
    }
}

/// Reads a body whose unknown fields mean nothing.
fn lenient<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    match without_nulls(parse(body)?) {
        Value::Null => Ok(T::default()),
        fields @ Value::Object(_) => serde_json::from_value(fields).map_err(invalid_json),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(not_an_object()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageBody {
    offset: i64,
}

/// How many to pass over.
fn page(body: &[u8]) -> Result<u64, ApiError> {
    let PageBody { offset } = optional(body)?;
    Ok(u64::try_from(offset).unwrap_or(0))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PauseBody {
    pause_until: Option<String>,
}

fn pause(stream: &str, consumer: &str, body: &[u8]) -> Asked {
    let PauseBody { pause_until } = optional(body)?;
    Ok(Request::ConsumerPause { stream: stream.into(), consumer: consumer.into(), pause_until })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResetBody {
    seq: Option<u64>,
}

fn reset(stream: &str, consumer: &str, body: &[u8]) -> Asked {
    let ResetBody { seq } = if body.trim_ascii().is_empty() { ResetBody::default() } else { lenient(body)? };
    Ok(Request::ConsumerReset { stream: stream.into(), consumer: consumer.into(), seq })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UnpinBody {
    group: String,
}

fn unpin(stream: &str, consumer: &str, body: &[u8]) -> Asked {
    let UnpinBody { group } = lenient(body)?;
    Ok(Request::ConsumerUnpin { stream: stream.into(), consumer: consumer.into(), group })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateBody {
    stream_name: String,
    config: ConsumerConfig,
    action: String,
    pedantic: bool,
}

/// What a body asks for.
struct Creation {
    config: ConsumerConfig,
    action: ConsumerAction,
    pedantic: bool,
    /// What no consumer can have: taken out of the configuration, and judged when all else about the request is right.
    impossible: Option<ApiError>,
}

impl Creation {
    fn into_request(self, stream: &str) -> Request {
        let (stream, config) = (stream.to_owned(), self.config);
        match self.impossible {
            Some(why) => Request::ConsumerImpossible { stream, num_replicas: config.num_replicas, why },
            None => Request::ConsumerCreate {
                stream,
                config: Box::new(config),
                action: self.action,
                pedantic: self.pedantic,
            },
        }
    }
}

fn creation(stream: &str, body: &[u8]) -> Result<Creation, ApiError> {
    let mut said = match body.trim_ascii_start().first() {
        Some(b'{' | b'[') => parse(body)?,
        Some(_) | None => Value::Object(Map::new()),
    };
    if let Some(action) = said.get("action").filter(|action| !action.is_string()) {
        return Err(unknown_action(action));
    }
    let mut impossible = None;
    if let Some(config) = said.get_mut("config").and_then(Value::as_object_mut) {
        check_choices(config)?;
        impossible = take_impossible(config);
    }
    let CreateBody { stream_name, config, action, pedantic } = typed(without_nulls(said))?;
    for moment in [&config.opt_start_time, &config.pause_until].into_iter().flatten() {
        jetstream::check_moment(moment)?;
    }
    let action = match action.as_str() {
        "" => ConsumerAction::CreateOrUpdate,
        "create" => ConsumerAction::Create,
        "update" => ConsumerAction::Update,
        _ => return Err(unknown_action(&Value::String(action))),
    };
    if stream_name != stream {
        return Err(error(400, 10_056, "stream name in subject does not match request"));
    }
    Ok(Creation { config, action, pedantic, impossible })
}

fn unknown_action(action: &Value) -> ApiError {
    invalid_json(format!("unknown consumer action: {action}"))
}

/// What is one of a few words says so in words of its own when it is none of them; here `null` is not as good as absent.
fn check_choices(config: &mut Map<String, Value>) -> Result<(), ApiError> {
    let none_of = |value: &Value, words: &[&str]| !value.as_str().is_some_and(|word| words.contains(&word));
    for (field, words) in [
        ("ack_policy", ["none", "all", "explicit", "flow_control"].as_slice()),
        (
            "deliver_policy",
            &[
                "",
                "undefined",
                "all",
                "last",
                "new",
                "by_start_sequence",
                "by_start_time",
                "last_per_subject",
            ],
        ),
        ("replay_policy", &["instant", "original"]),
    ] {
        if let Some(value) = config.get(field).filter(|value| none_of(value, words)) {
            return Err(invalid_json(format!("can not unmarshal {:?}", value.to_string())));
        }
    }
    if let Some(policy) = config
        .get("priority_policy")
        .filter(|policy| none_of(policy, &["none", "overflow", "pinned_client", "prioritized"]))
    {
        return Err(invalid_json(format!("unknown priority policy: {policy}")));
    }
    if config.get("deliver_policy").is_some_and(|policy| policy == "" || policy == "undefined") {
        config.remove("deliver_policy");
    }
    Ok(())
}

/// Takes out what no consumer can have: the first of it is the answer. Other numbers below zero are as good as none.
fn take_impossible(config: &mut Map<String, Value>) -> Option<ApiError> {
    let is_negative = |value: &Value| value.as_i64().is_some_and(|number| number < 0);
    let is_push = config.get("deliver_subject").and_then(Value::as_str).is_some_and(|to| !to.is_empty());
    let mut first = None;
    let mut take = |field: &str, is_impossible: &dyn Fn(&Value) -> bool, why: ApiError| {
        if config.get(field).is_some_and(is_impossible) {
            config.remove(field);
            first.get_or_insert(why);
        }
    };
    take("num_replicas", &is_negative, negative_replicas());
    let is_negative_list =
        |value: &Value| value.as_array().is_some_and(|waits| waits.iter().any(is_negative));
    take("backoff", &is_negative_list, error(400, 10_184, "consumer backoff needs to be positive"));
    take("ack_wait", &is_negative, error(400, 10_183, "consumer ack wait needs to be positive"));
    let why = "flow control ack policy requires a push based consumer";
    take("ack_policy", &|policy| !is_push && policy == "flow_control", error(400, 10_218, why));
    // Meant for servers that copy from each other.
    let why = "consumer direct requires a push based consumer";
    take("direct", &|direct| *direct == Value::Bool(true), error(400, 10_090, why));
    config.remove("direct");
    if let Some(replicas) = config.get_mut("num_replicas").filter(|replicas| replicas.as_u64() > Some(255)) {
        *replicas = u8::MAX.into();
    }
    for field in ["inactive_threshold", "idle_heartbeat", "max_expires", "priority_timeout"] {
        if config.get(field).is_some_and(is_negative) {
            config.remove(field);
        }
    }
    first
}

fn create(stream: &str, consumer: Option<&str>, filter: Option<String>, body: &[u8]) -> Asked {
    let mut creation = creation(stream, body)?;
    let config = &mut creation.config;
    let durable = config.durable_name.as_deref().filter(|name| !name.is_empty());
    match (consumer, durable) {
        (Some(consumer), Some(durable)) if consumer != durable => return Err(another_name()),
        (None, Some(_)) => {
            let why = "consumer expected to be ephemeral but a durable name was set in request";
            return Err(error(400, 10_020, why));
        }
        // The subject has the last word on a name.
        (Some(consumer), Some(_) | None) => config.name = Some(consumer.into()),
        (None, None) => {}
    }
    if let Some(filter) = filter {
        if !config.filter_subjects.is_empty() {
            let why = "consumer with multiple subject filters cannot use subject based API";
            return Err(error(400, 10_137, why));
        }
        if config.filter_subject.as_deref().unwrap_or_default() != filter {
            let why = "Consumer create request did not match filtered subject from create subject";
            return Err(error(400, 10_131, why));
        }
    }
    Ok(creation.into_request(stream))
}

fn create_durable(stream: &str, consumer: &str, body: &[u8]) -> Asked {
    let creation = creation(stream, body)?;
    let Some(durable) = creation.config.durable_name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(error(400, 10_018, "consumer expected to be durable but a durable name was not set"));
    };
    if durable != consumer {
        return Err(another_name());
    }
    Ok(creation.into_request(stream))
}

fn another_name() -> ApiError {
    error(400, 10_017, "consumer name in subject does not match durable name in request")
}

/// Reads a pull.
pub(super) fn pull(stream: &str, consumer: &str, reply: Option<String>, body: &[u8]) -> Call {
    // Without an inbox there is nowhere to send to.
    let Some(inbox) = reply else { return Call::Ignored };
    let (stream, consumer) = (stream.into(), consumer.into());
    let request = PullRequest::parse(body)
        .map(|request| jetstream::Input::Pulled { stream, consumer, inbox, request })
        .map_err(|why| error(400, err_code::INVALID_JSON, format!("Bad Request - {why}")));
    Call::Api { api: Api::Bare, request }
}
