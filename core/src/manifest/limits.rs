//! `limits` of an effect: how many calls may be under way at once, and begin in a second, under one key.
//!
//! ```yaml
//! limits:
//!   key: = command.tenant_id               # default: one for the effect, whoever asks
//!   in_flight_max: 4                       # calls at once
//!   per_second: 10                         # calls that begin in a second
//!   burst: 5                               # how many of them may begin at one moment; default: 1
//! ```
//!
//! At least one of `in_flight_max` and `per_second`. A limit protects what is called, so a key is shared by all tenants
//! for whom it comes out alike; one that names the tenant keeps them apart. In no second begin more than
//! `per_second + burst - 1` calls under a key.

use super::provider::INPUTS;
use super::reader::{Fields, Reader};
use super::yaml::Node;
use crate::program::dag::Expression;
use crate::program::{Gas, Inputs, ProgramError};
use serde_json::Value;

/// Most calls at once that can be asked for.
const IN_FLIGHT_MAX: u64 = 10_000;

/// Most calls in a second that can be asked for, and most at one moment.
const PER_SECOND_MAX: u64 = 10_000;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Limits of an effect.
#[derive(Clone, PartialEq, Debug)]
pub struct EffectLimits {
    key: Option<Expression>,
    /// What holds under each key.
    pub each: LaneLimits,
}

/// What holds under one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneLimits {
    /// Most calls at once; `None` for any number.
    pub in_flight_max: Option<u64>,
    /// How often calls begin; `None` for as often as they come.
    pub rate: Option<Rate>,
}

/// How often something may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// On average, in every second.
    pub per_second: u64,
    /// At one moment, after a rest.
    pub burst: u64,
}

impl EffectLimits {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "limits", reader);
        let key = fields.optional("key");
        let in_flight_max = fields.optional("in_flight_max");
        let per_second = fields.optional("per_second");
        let burst = fields.optional("burst");
        fields.finish(reader);
        if in_flight_max.is_none() && per_second.is_none() {
            let help = Some("`in_flight_max`, `per_second` or both".to_owned());
            reader.fault(node.span, "`limits` has no limit in it".into(), help);
        }
        if let (Some(burst), None) = (burst, per_second) {
            reader.fault(burst.span, "`burst` is part of a rate: `per_second` is missing".into(), None);
        }
        let key = key.map(|node| Expression::compile(node, &INPUTS, reader));
        let in_flight_max = in_flight_max.map(|node| reader.integer(node, 1, IN_FLIGHT_MAX));
        let per_second = per_second.map(|node| reader.integer(node, 1, PER_SECOND_MAX));
        let burst = burst.map_or(Some(1), |node| reader.integer(node, 1, PER_SECOND_MAX));
        let rate = match per_second {
            Some(per_second) => Some(Rate { per_second: per_second?, burst: burst? }),
            None => None,
        };
        let in_flight_max = match in_flight_max {
            Some(most) => Some(most?),
            None => None,
        };
        let key = match key {
            Some(key) => Some(key?),
            None => None,
        };
        Some(Self { key, each: LaneLimits { in_flight_max, rate } })
    }

    /// The key of a command; empty if all have the same.
    ///
    /// # Errors
    /// [`ProgramError`] when the expression fails, or does not come out as text or a number of at most 256 bytes.
    pub fn key(&self, command: &Value, gas: &mut Gas) -> Result<String, ProgramError> {
        let Some(key) = &self.key else { return Ok(String::new()) };
        let inputs: &Inputs<'_> = &[("command", command)];
        let key = match key.run(inputs, gas)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                let detail = format!("it came out as {other}, not as text or a number");
                return Err(ProgramError::Output { detail });
            }
        };
        if key.len() > KEY_BYTES_MAX {
            let detail = format!("it has {} bytes, {KEY_BYTES_MAX} are allowed", key.len());
            return Err(ProgramError::Output { detail });
        }
        Ok(key)
    }
}
