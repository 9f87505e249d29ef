//! `schedules/*.yaml`: what happens again and again, by the calendar.
//!
//! ```yaml
//! schedule: nightly_report
//! cron: "30 2 * * *"                       # minute, hour, day, month, day of the week; a second may stand before them
//! time_zone: Europe/Amsterdam              # default UTC; or, instead of both: `every: 10m`, a second at least
//! tenants: [acme, globex]                  # one occurrence for each; default: the default tenant
//! saga:                                    # or `command: { aggregate, id, name, payload }`, or `effect: { name, payload }`
//!   name: report                           # its `on_event` has `schedule.nightly_report`
//!   correlation: = "report-" + occurrence.date   # which instance; default: the id of the occurrence
//!   payload: { day: = occurrence.date }
//! overlap: skip                            # while the one before still runs: skip, allow, or queue_one
//! catch_up: { policy: last, window: 1h }   # what was missed: none, last, or all (occurrences_max: 100)
//! jitter: 30s                              # each is so much late at most, always by the same amount
//! ```
//!
//! Templates see `occurrence`: `id`, `schedule`, `tenant_id`, `due_at` (UTC), `local` (the same moment in the zone),
//! `date` (there) and `by` (`calendar`, or what an operator asked for: `trigger`, `backfill`). They are tried out when
//! the manifest is loaded.

use super::occurrence::FiredBy;
use super::reader::{Fields, Reader};
use super::suggest::closest;
use super::yaml::{Node, Yaml, first_of};
use crate::calendar::cron::{Cron, CronError};
use crate::calendar::{self, Cadence, PERIOD_MS_MIN};
use crate::program::contract::after_ms;
use crate::program::dag::Filling;
use crate::program::{GAS_MAX_DEFAULT, Gas};
use crate::time::Wall;
use crate::wire::id::{Name, TenantId, derive_hex};
use jiff::tz::TimeZone;

/// Most tenants of one schedule.
const TENANTS_MAX: usize = 1_000;
/// Most rows that all schedules of an application keep: one for each and each of its tenants.
pub const ROWS_MAX: usize = 10_000;
/// Longest catch-up window: 31 days, in milliseconds.
const WINDOW_MS_MAX: u64 = 31 * 86_400_000;
const WINDOW_MS: u64 = 3_600_000;
const OCCURRENCES_MAX: u64 = 100;
/// Most occurrences that are caught up with.
const OCCURRENCES_MAX_MAX: u64 = 1_000;
const JITTER_MS_MAX: u64 = 3_600_000;
/// How late an occurrence may be that is not to be caught up with: what a restart takes.
const LATE_MS: u64 = 10_000;
/// A moment from which every pattern must be due one day: a year before a leap year, so that the 29th of February is.
const SAMPLE_MS: u64 = 1_798_761_600_000;

/// A schedule.
#[derive(Clone, PartialEq, Debug)]
pub struct ScheduleDef {
    /// Its name.
    pub name: Name,
    /// When it is due.
    pub cadence: Cadence,
    /// The same as it is written, with its zone.
    pub written: String,
    /// For whom it fires.
    pub tenants: Vec<TenantId>,
    /// What it does.
    pub target: ScheduleTarget,
    /// What becomes of an occurrence while the one before still runs.
    pub overlap: Overlap,
    /// What becomes of occurrences that were missed.
    pub catch_up: CatchUp,
    /// How late an occurrence may be on purpose, in milliseconds.
    pub jitter_ms: u64,
    /// Changes when the times do: a schedule with other times begins anew.
    pub hash: String,
}

/// What a schedule does.
#[derive(Clone, PartialEq, Debug)]
pub enum ScheduleTarget {
    /// Tells an instance of a saga, or starts it.
    Saga {
        /// The saga.
        saga: Name,
        /// Which instance; the id of the occurrence without it.
        correlation: Option<Filling>,
        /// What comes with it.
        payload: Filling,
    },
    /// Sends a command.
    Command {
        /// The aggregate type.
        aggregate: Name,
        /// The aggregate.
        id: Filling,
        /// The command.
        command: Name,
        /// What comes with it.
        payload: Filling,
    },
    /// Asks for an effect.
    Effect {
        /// The effect.
        effect: Name,
        /// What comes with it.
        payload: Filling,
    },
}

/// What becomes of an occurrence while the one before still runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It fires nevertheless.
    Allow,
    /// One waits for the end of the one before; further ones are left out.
    QueueOne,
}

impl Overlap {
    /// As manifests spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
            Self::QueueOne => "queue_one",
        }
    }
}

/// Which of the occurrences that were missed still fire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CatchUp {
    /// Those that are no older, in milliseconds.
    pub window_ms: u64,
    /// Of these the latest, so many at most.
    pub occurrences_max: u64,
}

impl ScheduleDef {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "schedule", reader);
        let name = fields.required("schedule", reader).and_then(|name| reader.name(name));
        let (cron, every) = (fields.optional("cron"), fields.optional("every"));
        let zone = fields.optional("time_zone");
        let tenants = fields.optional("tenants");
        let target = Target {
            saga: fields.optional("saga"),
            command: fields.optional("command"),
            effect: fields.optional("effect"),
        };
        let overlap = fields.optional("overlap");
        let catch_up = fields.optional("catch_up");
        let jitter = fields.optional("jitter");
        fields.finish(reader);
        let cadence = read_cadence(node, cron, every, zone, reader);
        let tenants = match tenants {
            Some(node) => read_tenants(node, reader),
            None => Some(vec![TenantId::default_tenant()]),
        };
        let target = target.read(node, reader);
        let overlap = overlap.map_or(Some(Overlap::Skip), |node| read_overlap(node, reader));
        let catch_up = read_catch_up(catch_up, reader);
        let jitter_ms = match jitter {
            Some(node) => read_duration(node, 0, JITTER_MS_MAX, reader),
            None => Some(0),
        };
        let (cadence, written) = cadence?;
        let jitter_ms = jitter_ms?;
        let hash = derive_hex(&["schedule", &written, &jitter_ms.to_string()]);
        let (target, target_node) = target?;
        let (tenants, overlap, catch_up) = (tenants?, overlap?, catch_up?);
        let def = Self { name: name?, cadence, written, tenants, target, overlap, catch_up, jitter_ms, hash };
        let sample = def.occurrence(&def.tenants[0], Wall::from_ms(SAMPLE_MS), FiredBy::Calendar);
        if let Err(error) = def.fill(&sample, &mut Gas::new(GAS_MAX_DEFAULT)) {
            reader.fault(target_node.span, format!("an occurrence of it cannot be filled in: {error}"), None);
        }
        Some(def)
    }
}

fn read_duration(node: &Node, min: u64, max: u64, reader: &mut Reader<'_>) -> Option<u64> {
    let text = reader.text(node)?;
    let help = Some("for example `30s`, `10m` or `2h 30m`".to_owned());
    match after_ms(&text) {
        Ok(ms) if (min..=max).contains(&ms) => Some(ms),
        Ok(_) => {
            let seconds = max / 1_000;
            let message = format!("{text:?} is not between {min} ms and {seconds} s");
            reader.fault(node.span, message, help);
            None
        }
        Err(error) => {
            reader.fault(node.span, error, help);
            None
        }
    }
}

fn read_cadence(
    node: &Node,
    cron: Option<&Node>,
    every: Option<&Node>,
    zone: Option<&Node>,
    reader: &mut Reader<'_>,
) -> Option<(Cadence, String)> {
    match (cron, every) {
        (Some(pattern), None) => {
            let (zone, zone_name) = match zone {
                Some(node) => read_zone(node, reader)?,
                None => (TimeZone::UTC, "UTC".to_owned()),
            };
            let text = reader.text(pattern)?;
            // Five fields are those of every other cron: without seconds.
            let six = if text.split_whitespace().count() == 5 { format!("0 {text}") } else { text.clone() };
            let cron = match Cron::parse(&six) {
                Ok(cron) => Box::new(cron),
                Err(CronError::Fields { .. }) => {
                    let found = text.split_whitespace().count();
                    let wanted =
                        "five (minute, hour, day, month, day of the week) or six (a second before them)";
                    reader.fault(pattern.span, format!("{found} fields; wanted are {wanted}"), None);
                    return None;
                }
                Err(error @ CronError::Field { .. }) => {
                    let help = "for example `30 2 * * mon-fri`".to_owned();
                    reader.fault(pattern.span, error.to_string(), Some(help));
                    return None;
                }
            };
            let cadence = Cadence::Cron { cron, zone };
            if cadence.after(Wall::from_ms(SAMPLE_MS)).is_none() {
                reader.fault(pattern.span, format!("`{text}` is never due"), None);
                return None;
            }
            Some((cadence, format!("{text} {zone_name}")))
        }
        (None, Some(every)) => {
            if let Some(zone) = zone {
                let help = "only `cron` follows a clock; leave it out".to_owned();
                reader.fault(zone.span, "`every` has no time zone".into(), Some(help));
            }
            let ms = read_duration(every, PERIOD_MS_MIN, WINDOW_MS_MAX, reader)?;
            Some((Cadence::EveryMs(ms), format!("every {}", reader.text(every)?)))
        }
        (None, None) | (Some(_), Some(_)) => {
            reader.fault(first_of(node), "a schedule has either `cron` or `every`".into(), None);
            None
        }
    }
}

fn read_zone(node: &Node, reader: &mut Reader<'_>) -> Option<(TimeZone, String)> {
    let name = reader.text(node)?;
    if let Some(zone) = calendar::zone(&name) {
        return Some((zone, name));
    }
    let known = calendar::zone_names();
    let help = match closest(&name, known.iter().map(String::as_str)) {
        Some(close) => format!("did you mean `{close}`?"),
        None => "a name of the IANA database, such as `Europe/Amsterdam` or `UTC`".to_owned(),
    };
    reader.fault(node.span, format!("unknown time zone `{name}`"), Some(help));
    None
}

fn read_tenants(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<TenantId>> {
    let items = reader.items(node);
    if items.is_empty() || items.len() > TENANTS_MAX {
        reader.fault(node.span, format!("expected 1 to {TENANTS_MAX} tenants"), None);
        return None;
    }
    let mut tenants: Vec<TenantId> = Vec::with_capacity(items.len());
    for item in items {
        match TenantId::parse(&reader.text(item)?) {
            Ok(tenant) if tenants.contains(&tenant) => {
                reader.fault(item.span, format!("tenant `{tenant}` is listed twice"), None);
            }
            Ok(tenant) => tenants.push(tenant),
            Err(error) => {
                reader.fault(item.span, error.to_string(), None);
                return None;
            }
        }
    }
    Some(tenants)
}

fn read_overlap(node: &Node, reader: &mut Reader<'_>) -> Option<Overlap> {
    let all = [Overlap::Skip, Overlap::Allow, Overlap::QueueOne];
    let text = reader.text(node)?;
    let found = all.into_iter().find(|overlap| overlap.as_str() == text);
    if found.is_none() {
        reader.fault(node.span, "expected `skip`, `allow` or `queue_one`".into(), None);
    }
    found
}

fn read_catch_up(node: Option<&Node>, reader: &mut Reader<'_>) -> Option<CatchUp> {
    let Some(node) = node else { return Some(CatchUp { window_ms: WINDOW_MS, occurrences_max: 1 }) };
    let mut fields = Fields::of(node, "catch-up policy", reader);
    let policy = fields.required("policy", reader);
    let window = fields.optional("window");
    let occurrences = fields.optional("occurrences_max");
    fields.finish(reader);
    let policy_node = policy?;
    let policy = reader.text(policy_node)?;
    let window_ms = match window {
        Some(node) => read_duration(node, PERIOD_MS_MIN, WINDOW_MS_MAX, reader)?,
        None => WINDOW_MS,
    };
    if let Some(node) = occurrences.filter(|_| policy != "all") {
        reader.fault(node.span, "`occurrences_max` is for the policy `all`".into(), None);
        return None;
    }
    match policy.as_str() {
        "none" => {
            if let Some(node) = window {
                reader.fault(node.span, "`window` is for the policies `last` and `all`".into(), None);
                return None;
            }
            Some(CatchUp { window_ms: LATE_MS, occurrences_max: 1 })
        }
        "last" => Some(CatchUp { window_ms, occurrences_max: 1 }),
        "all" => {
            let most = occurrences
                .map_or(Some(OCCURRENCES_MAX), |node| reader.integer(node, 1, OCCURRENCES_MAX_MAX))?;
            Some(CatchUp { window_ms, occurrences_max: most })
        }
        _ => {
            reader.fault(policy_node.span, "expected `none`, `last` or `all`".into(), None);
            None
        }
    }
}

struct Target<'n> {
    saga: Option<&'n Node>,
    command: Option<&'n Node>,
    effect: Option<&'n Node>,
}

impl<'n> Target<'n> {
    fn read(&self, whole: &Node, reader: &mut Reader<'_>) -> Option<(ScheduleTarget, &'n Node)> {
        const KNOWN: &[&str] = &["occurrence"];
        let filling = |node: Option<&Node>, reader: &mut Reader<'_>| {
            let nothing = Node { span: whole.span, text_offset: 0, value: Yaml::Null };
            Filling::compile(node.unwrap_or(&nothing), KNOWN, reader)
        };
        match (self.saga, self.command, self.effect) {
            (Some(node), None, None) => {
                let mut fields = Fields::of(node, "saga of a schedule", reader);
                let saga = fields.required("name", reader).and_then(|node| reader.name(node));
                let correlation = fields.optional("correlation");
                let payload = fields.optional("payload");
                fields.finish(reader);
                let correlation = correlation.map(|node| filling(Some(node), reader));
                let payload = filling(payload, reader);
                Some((ScheduleTarget::Saga { saga: saga?, correlation, payload }, node))
            }
            (None, Some(node), None) => {
                let mut fields = Fields::of(node, "command of a schedule", reader);
                let aggregate = fields.required("aggregate", reader).and_then(|node| reader.name(node));
                let command = fields.required("name", reader).and_then(|node| reader.name(node));
                let id = fields.required("id", reader);
                let payload = fields.optional("payload");
                fields.finish(reader);
                let (id, payload) = (filling(Some(id?), reader), filling(payload, reader));
                let (aggregate, command) = (aggregate?, command?);
                Some((ScheduleTarget::Command { aggregate, id, command, payload }, node))
            }
            (None, None, Some(node)) => {
                let mut fields = Fields::of(node, "effect of a schedule", reader);
                let effect = fields.required("name", reader).and_then(|node| reader.name(node));
                let payload = fields.optional("payload");
                fields.finish(reader);
                let payload = filling(payload, reader);
                Some((ScheduleTarget::Effect { effect: effect?, payload }, node))
            }
            (saga, command, effect) => {
                let message = "a schedule has one of `saga`, `command` and `effect`";
                let span = saga.or(command).or(effect).map_or_else(|| first_of(whole), |node| node.span);
                reader.fault(span, message.into(), None);
                None
            }
        }
    }
}
