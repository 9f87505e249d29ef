//! `effects/*.yaml`: a call to the outside, through one of the [providers](super::provider).
//!
//! ```yaml
//! effect: charge_card
//! http:
//!   method: POST
//!   url: "${var:services}/payments/charges"
//!   headers: { x-shop: "= command.tenant_id" }
//!   body: { order: = command.payload.order, cents: = command.payload.cents }
//! timeout_ms: 2000
//! delivery: at_least_once                  # or at_most_once
//! retry: { backoff_ms: 100, backoff_ms_max: 10000 }   # and attempts_max, total_ms_max, else it never gives up
//! upstream: payments                       # default: host and port of the URL, the subject, or else the effect itself
//! succeeded: [200, 201]                    # default: 200–299
//! failed: [402]                            # default: 400–499 but 408, 425 and 429
//! limits: { key: = command.tenant_id, in_flight_max: 4, per_second: 10 }   # default: none
//! ```
//!
//! A status in neither list, and every failure to get one, is tried again, at most `attempts_max` times, and not once
//! `total_ms_max` have passed since it was asked for; then it waits for a person. Effects of one upstream wait together when
//! it does not answer ([`effect`](crate::effect)); `builtin` has none. [`limits`](super::limits) hold for its calls, the
//! repeated ones too. `${var:NAME}` is replaced by the application's variables before anything is read.

use super::limits::EffectLimits;
use super::provider::{EffectRequest, Provider};
use super::reader::{Fields, Reader};
use super::secret::SecretHeader;
use super::yaml::Node;
use crate::program::{Gas, ProgramError};
use crate::wire::id::Name;
use serde_json::Value;

/// Longest a single attempt may take, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 300_000;

/// Longest time that may be given to all attempts together, in milliseconds: thirty days.
const TOTAL_MS_MAX: u64 = 30 * 86_400_000;

/// How often an effect may happen outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// At least once, under one idempotency key: exactly once where the peer honours it.
    AtLeastOnce,
    /// At most once: after an attempt without an answer it waits for a person.
    AtMostOnce,
}

/// When to try again, and when to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Most attempts; `None` to go on for ever.
    pub attempts_max: Option<u32>,
    /// How long after it was asked for an attempt may still begin, in milliseconds; `None` for ever.
    pub total_ms_max: Option<u64>,
    /// First pause, in milliseconds.
    pub backoff_ms: u64,
    /// Longest pause, in milliseconds.
    pub backoff_ms_max: u64,
}

/// What a status means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// It was done.
    Succeeded,
    /// It was definitely refused.
    Failed,
    /// Not now.
    Retry,
}

/// An effect.
#[derive(Clone, PartialEq, Debug)]
pub struct EffectDef {
    /// Its name.
    pub name: Name,
    provider: Provider,
    /// What it calls, for circuits; `None` if it calls nobody.
    pub upstream: Option<String>,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// How often it may happen.
    pub delivery: Delivery,
    /// When to try again.
    pub retry: Retry,
    /// How many calls at once and in a second, under one key.
    pub limits: Option<EffectLimits>,
    succeeded: Option<Vec<u16>>,
    failed: Option<Vec<u16>>,
}

impl EffectDef {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "effect", reader);
        let name = fields.required("effect", reader).and_then(|name| reader.name(name));
        let provider = Provider::read(&mut fields, node.span, reader);
        let upstream = fields.optional("upstream");
        let timeout_ms = fields.optional("timeout_ms");
        let delivery = fields.optional("delivery");
        let retry = fields.optional("retry");
        let limits = fields.optional("limits");
        let succeeded = fields.optional("succeeded");
        let failed = fields.optional("failed");
        fields.finish(reader);
        let timeout_ms = timeout_ms.map_or(Some(10_000), |node| reader.integer(node, 1, TIMEOUT_MS_MAX));
        let delivery = delivery.map_or(Some(Delivery::AtLeastOnce), |node| read_delivery(node, reader));
        let retry = read_retry(retry, reader);
        let limits = limits.map(|node| EffectLimits::read(node, reader));
        let upstream = read_upstream(upstream, name.as_ref(), provider.as_ref(), reader);
        let succeeded = succeeded.map(|node| read_statuses(node, reader));
        let failed = failed.map(|node| read_statuses(node, reader));

        Some(Self {
            name: name?,
            provider: provider?,
            upstream: upstream?,
            timeout_ms: timeout_ms?,
            delivery: delivery?,
            retry: retry?,
            limits: match limits {
                Some(limits) => Some(limits?),
                None => None,
            },
            succeeded,
            failed,
        })
    }

    /// The request for a command.
    ///
    /// # Errors
    /// [`ProgramError`] when an expression fails or something does not come out as what it must be.
    pub fn request(&self, command: &Value, gas: &mut Gas) -> Result<EffectRequest, ProgramError> {
        self.provider.fill(command, gas)
    }

    /// Where it calls, as [`Egress`](super::Egress) spells it, if that is known beforehand.
    pub(super) fn target(&self) -> Option<String> {
        self.provider.target()
    }

    /// Headers with secrets in them.
    #[must_use]
    pub fn secret_headers(&self) -> &[SecretHeader] {
        self.provider.secret_headers()
    }

    /// What a status means for this effect.
    #[must_use]
    pub fn meaning(&self, status: u16) -> Meaning {
        let listed =
            |list: &Option<Vec<u16>>, default: bool| list.as_ref().map_or(default, |l| l.contains(&status));
        let refused = (400..500).contains(&status) && ![408, 425, 429].contains(&status);
        if listed(&self.succeeded, (200..300).contains(&status)) {
            Meaning::Succeeded
        } else if listed(&self.failed, refused) {
            Meaning::Failed
        } else {
            Meaning::Retry
        }
    }
}

/// The upstream that is named, or the one its provider shows.
fn read_upstream(
    node: Option<&Node>,
    effect: Option<&Name>,
    provider: Option<&Provider>,
    reader: &mut Reader<'_>,
) -> Option<Option<String>> {
    let provider = provider?;
    match node {
        Some(node) if provider.calls() => Some(Some(reader.name(node)?.to_string())),
        Some(node) => {
            reader.fault(node.span, "`builtin` calls nobody, so it has no upstream".into(), None);
            None
        }
        None if provider.calls() => Some(Some(provider.upstream().unwrap_or(effect?.to_string()))),
        None => Some(None),
    }
}

fn read_delivery(node: &Node, reader: &mut Reader<'_>) -> Option<Delivery> {
    match reader.text(node)?.as_str() {
        "at_least_once" => Some(Delivery::AtLeastOnce),
        "at_most_once" => Some(Delivery::AtMostOnce),
        _ => {
            reader.fault(node.span, "expected `at_least_once` or `at_most_once`".into(), None);
            None
        }
    }
}

fn read_retry(node: Option<&Node>, reader: &mut Reader<'_>) -> Option<Retry> {
    let default = Retry { attempts_max: None, total_ms_max: None, backoff_ms: 100, backoff_ms_max: 10_000 };
    let Some(node) = node else { return Some(default) };
    let mut fields = Fields::of(node, "retry policy", reader);
    let attempts = fields.optional("attempts_max");
    let total = fields.optional("total_ms_max");
    let backoff = fields.optional("backoff_ms");
    let backoff_max = fields.optional("backoff_ms_max");
    fields.finish(reader);
    let attempts_max = match attempts {
        Some(node) => Some(u32::try_from(reader.integer(node, 1, 1_000)?).unwrap_or(1_000)),
        None => None,
    };
    let total_ms_max = match total {
        Some(node) => Some(reader.integer(node, 1, TOTAL_MS_MAX)?),
        None => None,
    };
    let backoff_ms = backoff.map_or(Some(default.backoff_ms), |node| reader.integer(node, 1, 3_600_000))?;
    let backoff_ms_max = backoff_max.map_or(Some(default.backoff_ms_max.max(backoff_ms)), |node| {
        reader.integer(node, backoff_ms, 86_400_000)
    })?;
    Some(Retry { attempts_max, total_ms_max, backoff_ms, backoff_ms_max })
}

fn read_statuses(node: &Node, reader: &mut Reader<'_>) -> Vec<u16> {
    let items = reader.items(node);
    items.iter().filter_map(|item| u16::try_from(reader.integer(item, 100, 599)?).ok()).collect()
}
