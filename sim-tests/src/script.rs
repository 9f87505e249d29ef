//! Scenarios as text: a world, what is done to it at which moment, and what must come of it.
//!
//! ```text
//! # why it is here
//! scenario calm                      which faults the dice may throw; `calm`: none
//! seed 7                             everything else that is drawn
//! orders 3                           set, instead of drawn: a line for each
//! strikes 4 17                       of the faults that the dice throw only these happen, by their number; `none`, `all`
//! at 900ms runner dies C3-landed     its first turn from then on ends so
//! at 2s runner drains 3s
//! shows OutboxDeleteOnUnknown by INV-OUT-2      with this fault planted, that invariant breaks
//! ```
//!
//! Every script must hold as it is. Moments are those of the world, in `ms` or `s`. A step that finds nobody (the process is
//! down, the world is over) is passed over: what a script lost by a change of the code is told by its `shows`, if anything.
//!
//! | step | what happens |
//! |---|---|
//! | `NODE dies C1`, `C2`, `C3`, `C3-landed`, `C4`, `C5` | its next turn ends at this crash point: before it, at the commit (the next that there is: refused, or without answer and landed or not), before or after its effects left |
//! | `NODE dies` | between two turns (C6) |
//! | `NODE drains 3s` | with this deadline |
//! | `NODE loses-connection` | and connects again |
//! | `NODE clock -600s` | its wall clock jumps |
//! | `broker dies` | and comes back from its disk |
//!
//! What can be set: `tenants`, `orders`, `transfers`, `owners`; `halves`, `stranger`, `operators`, `deploys` and `placement` are
//! 0 or 1. A remark has a line of its own. Without their lines it is `scenario calm`, `seed 1` and `strikes all`. The disaster
//! of `scenario disaster` is no strike: it happens.
//!
//! Nodes are `aggregate0`, `aggregate1`, `projection`, `runner`, `effects` and `stranger`. `sim script FILE` runs one, `sim
//! shrink` writes one.

use crate::plan::{Plan, Scenario, Strikes};
use crate::run::{self, Failure};
use crate::trace::Keep;
use crate::world::World;
use crate::world::event::NodeId;
use crate::world::scripted::{Act, DiesAt};
use cloudlysis_core::Invariant;
use cloudlysis_core::quirks::{Quirk, Quirks};
use std::fmt;

/// What of a plan a script may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Tenants.
    Tenants,
    /// Orders.
    Orders,
    /// Transfers between accounts.
    Transfers,
    /// Aggregate nodes at once.
    Owners,
    /// Whether sagas and effects are two processes.
    Halves,
    /// The partition of a second runner.
    Stranger,
    /// Whether there are operators.
    Operators,
    /// Whether manifests change.
    Deploys,
    /// Whether tenants join.
    Placement,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Stranger,
        Self::Placement,
        Self::Deploys,
        Self::Operators,
        Self::Halves,
        Self::Transfers,
        Self::Owners,
        Self::Tenants,
        Self::Orders,
    ];

    /// As scripts spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Orders => "orders",
            Self::Transfers => "transfers",
            Self::Owners => "owners",
            Self::Halves => "halves",
            Self::Stranger => "stranger",
            Self::Operators => "operators",
            Self::Deploys => "deploys",
            Self::Placement => "placement",
        }
    }

    /// The fewest and the most of it; a switch has zero and one.
    #[must_use]
    pub const fn range(self) -> (u64, u64) {
        match self {
            Self::Tenants => (2, 3),
            Self::Orders => (1, 64),
            Self::Transfers => (0, 64),
            Self::Owners => (1, 2),
            Self::Halves | Self::Stranger | Self::Operators | Self::Deploys | Self::Placement => (0, 1),
        }
    }

    /// What a plan says.
    #[must_use]
    pub const fn of(self, plan: &Plan) -> u64 {
        match self {
            Self::Tenants => plan.tenants,
            Self::Orders => plan.orders,
            Self::Transfers => plan.transfers,
            Self::Owners => plan.owners as u64,
            Self::Halves => plan.halves as u64,
            Self::Stranger => plan.stranger.is_some() as u64,
            Self::Operators => plan.operators as u64,
            Self::Deploys => plan.deploys as u64,
            Self::Placement => plan.placement as u64,
        }
    }

    fn set(self, plan: &mut Plan, value: u64) {
        match self {
            Self::Tenants => plan.tenants = value,
            Self::Orders => plan.orders = value,
            Self::Transfers => plan.transfers = value,
            Self::Owners => plan.owners = u8::try_from(value).unwrap_or(1),
            Self::Halves => plan.halves = value > 0,
            Self::Stranger => plan.stranger = (value > 0).then(|| plan.stranger.unwrap_or(0)),
            Self::Operators => plan.operators = value > 0,
            Self::Deploys => plan.deploys = value > 0,
            Self::Placement => plan.placement = value > 0,
        }
    }
}

/// A scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// What people say of it.
    pub remarks: Vec<String>,
    /// Which faults the dice may throw.
    pub scenario: Scenario,
    /// Everything that is drawn.
    pub seed: u64,
    /// What is set instead.
    pub settings: Vec<(Setting, u64)>,
    /// Which of the faults happen.
    pub strikes: Strikes,
    /// What is done, and when in milliseconds of the world.
    pub acts: Vec<(u64, Act)>,
    /// A planted fault that it shows, and what breaks then.
    pub shows: Option<(Quirk, Invariant)>,
}

/// Why a text is no script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoScript {
    /// Counted from one.
    pub line: usize,
    /// What is wrong, and what could stand there.
    pub detail: String,
}

impl fmt::Display for NoScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.detail)
    }
}

fn ms(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or(format!("`{text}` is not a time: `900ms`, `3s`"))?, 1_000),
    };
    let number = number.parse::<i64>().map_err(|_| format!("`{text}` is not a time: `900ms`, `3s`"))?;
    number.checked_mul(unit).filter(|ms| ms.abs() < 1 << 40).ok_or(format!("`{text}` is too long"))
}

fn later(text: &str) -> Result<u64, String> {
    u64::try_from(ms(text)?).map_err(|_| format!("`{text}` is in the past"))
}

fn node(name: &str) -> Result<NodeId, String> {
    let all = (0..).map_while(NodeId::of_number);
    all.clone().find(|id| id.to_string() == name).ok_or_else(|| {
        let names: Vec<String> = all.map(|id| id.to_string()).collect();
        format!("there is no `{name}`; there are {} and broker", names.join(", "))
    })
}

fn act(words: &[&str]) -> Result<Act, String> {
    Ok(match *words {
        ["broker", "dies"] => Act::BrokerDies,
        [who, "dies"] => Act::Dies(node(who)?),
        [who, "dies", at] => Act::DiesAt(node(who)?, DiesAt::parse(at)?),
        [who, "drains", deadline] => Act::Drains(node(who)?, later(deadline)?),
        [who, "loses-connection"] => Act::LosesConnection(node(who)?),
        [who, "clock", by] => Act::Clock(node(who)?, ms(by)?),
        _ => return Err(format!("`{}` is no step", words.join(" "))),
    })
}

fn strikes(words: &[&str]) -> Result<Strikes, String> {
    match *words {
        ["all"] => Ok(Strikes::All),
        ["none"] => Ok(Strikes::Only([].into())),
        _ => {
            let number = |word: &&str| word.parse::<u64>().map_err(|_| format!("`{word}` is no number"));
            words.iter().map(number).collect::<Result<_, _>>().map(Strikes::Only)
        }
    }
}

fn shows(quirk: &str, invariant: &str) -> Result<(Quirk, Invariant), String> {
    let planted = Quirk::ALL.iter().find(|own| format!("{own:?}") == quirk);
    let broken = Invariant::ALL.iter().find(|own| own.id() == invariant);
    let planted = planted.ok_or_else(|| format!("there is no planted fault `{quirk}`"))?;
    Ok((*planted, *broken.ok_or_else(|| format!("there is no invariant `{invariant}`"))?))
}

impl Script {
    /// The world of a seed as it is drawn.
    #[must_use]
    pub const fn of_seed(scenario: Scenario, seed: u64) -> Self {
        Self {
            remarks: Vec::new(),
            scenario,
            seed,
            settings: Vec::new(),
            strikes: Strikes::All,
            acts: Vec::new(),
            shows: None,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// The first line that says nothing, and what it could say.
    pub fn parse(text: &str) -> Result<Self, NoScript> {
        let mut script = Self::of_seed(Scenario::Calm, 1);
        for (at, raw) in text.lines().enumerate() {
            let read = match raw.strip_prefix('#') {
                Some(remark) => {
                    script.remarks.push(remark.trim().to_owned());
                    Ok(())
                }
                None => script.read(&raw.split_whitespace().collect::<Vec<_>>()),
            };
            read.map_err(|detail| NoScript { line: at + 1, detail })?;
        }
        Ok(script)
    }

    fn read(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            [] => {}
            ["scenario", name] => {
                let names = || Scenario::ALL.map(Scenario::name).join(", ");
                self.scenario = Scenario::parse(name).ok_or_else(|| format!("there are: {}", names()))?;
            }
            ["seed", seed] => self.seed = seed.parse().map_err(|_| format!("`{seed}` is no seed"))?,
            ["strikes", ref which @ ..] if !which.is_empty() => self.strikes = strikes(which)?,
            ["at", when, ref what @ ..] => self.acts.push((later(when)?, act(what)?)),
            ["shows", quirk, "by", invariant] => self.shows = Some(shows(quirk, invariant)?),
            [name, value] => {
                let setting = Setting::ALL.into_iter().find(|own| own.name() == name);
                let setting = setting.ok_or_else(|| {
                    let names = Setting::ALL.map(Setting::name).join(", ");
                    format!("`{name}` is nothing that can be set; there are {names}")
                })?;
                let (min, max) = setting.range();
                let value = value.parse().ok().filter(|value| (min..=max).contains(value));
                let value = value.ok_or_else(|| format!("`{name}` is a number from {min} to {max}"))?;
                self.settings.push((setting, value));
            }
            _ => return Err(format!("`{}` says nothing", words.join(" "))),
        }
        Ok(())
    }

    /// The world that it describes, with this fault planted.
    #[must_use]
    pub fn plan(&self, quirk: Option<Quirk>) -> Plan {
        let mut plan = Plan::draw(self.seed, self.scenario, quirk.map_or(Quirks::NONE, Quirks::planted));
        for (setting, value) in &self.settings {
            setting.set(&mut plan, *value);
        }
        plan.strikes.clone_from(&self.strikes);
        plan.acts.clone_from(&self.acts);
        plan
    }

    /// Runs it; the world is as it was at the end.
    #[must_use]
    pub fn run(&self, quirk: Option<Quirk>, keep: Keep) -> (Option<Failure>, Option<World>) {
        run::run_plan(self.plan(quirk), keep)
    }

    /// What is wrong with it: it does not hold, or does not show what it says.
    ///
    /// # Errors
    /// What happened instead.
    pub fn check(&self) -> Result<(), String> {
        if let (Some(failure), _) = self.run(None, Keep::Nothing) {
            return Err(format!("does not hold: {failure}"));
        }
        let Some((quirk, invariant)) = self.shows else { return Ok(()) };
        match self.run(Some(quirk), Keep::Nothing).0 {
            Some(failure) if failure.invariant() == Some(invariant) => Ok(()),
            Some(failure) => Err(format!("shows {quirk:?} by something else: {failure}")),
            None => Err(format!("does not show {quirk:?}: everything holds")),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for remark in &self.remarks {
            writeln!(f, "# {remark}")?;
        }
        writeln!(f, "scenario {}\nseed {}", self.scenario.name(), self.seed)?;
        for (setting, value) in &self.settings {
            writeln!(f, "{} {value}", setting.name())?;
        }
        match &self.strikes {
            Strikes::All => writeln!(f, "strikes all")?,
            Strikes::Only(none) if none.is_empty() => writeln!(f, "strikes none")?,
            Strikes::Only(some) => {
                let some: Vec<String> = some.iter().map(u64::to_string).collect();
                writeln!(f, "strikes {}", some.join(" "))?;
            }
        }
        for (at_ms, act) in &self.acts {
            writeln!(f, "at {at_ms}ms {act}")?;
        }
        self.shows.map_or(Ok(()), |(quirk, invariant)| writeln!(f, "shows {quirk:?} by {}", invariant.id()))
    }
}
