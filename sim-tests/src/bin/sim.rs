//! `sim`: the simulated world from the command line.
//!
//! ```text
//! sim run [--profile contract|disaster|both] [--scenario NAME] [--seeds N] [--seed S] [--quirk FAULT]     many runs; a failure prints its story
//! sim replay --scenario NAME --seed S [--quirk FAULT] [--last N] [--grep TEXT]     one run, in full
//! sim grid [--seeds N]                  disaster x machine: detected, halted, quarantined; never silent, or it fails
//! sim meta [--seeds N]                  every seed twice: the same hash of everything that happened, or it fails
//! sim crashes [--seeds N]               where processes died, and what that left: machine × crash point × outcome
//! sim script FILE...                     scenarios from text files: each holds, and shows the planted fault that it names
//! sim shrink --scenario NAME --seed S [--quirk FAULT] [--emit FILE]     the same failure with as little as possible, as a script
//! sim mutants [--only FAULT]            every planted fault: caught by its own oracle within its budget, or it fails
//! ```

use clap::{Args, Parser, Subcommand};
use cloudlysis_core::quirks::Quirk;
use sim_tests::grid;
use sim_tests::plan::Scenario;
use sim_tests::report::{self, Lines};
use sim_tests::run::{Job, jobs};
use sim_tests::script::Script;
use sim_tests::shrink::shrink;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Crashes, cuts and redelivers in a world of its own until something breaks.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs consecutive seeds; stops at the first violation and tells its story.
    Run {
        #[command(flatten)]
        seeds: Seeds,
        #[command(flatten)]
        kind: Kind,
    },
    /// Runs disasters and prints what each of them did to each machine.
    Grid {
        #[command(flatten)]
        seeds: Seeds,
    },
    /// Runs consecutive seeds and prints where processes died, and what that left behind.
    Crashes {
        #[command(flatten)]
        seeds: Seeds,
    },
    /// Runs one seed and prints what happened.
    Replay {
        /// The seed.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        kind: Kind,
        /// Only the last so many events; 0 for all.
        #[arg(long, default_value_t = 0)]
        last: usize,
        /// Only events that contain this text.
        #[arg(long)]
        grep: Option<String>,
    },
    /// Runs every seed twice and compares everything that happened.
    Meta {
        #[command(flatten)]
        seeds: Seeds,
        #[command(flatten)]
        kind: Kind,
    },
    /// Runs scripts.
    Script {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Makes a failing run smaller.
    Shrink {
        /// The seed.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        kind: Kind,
        /// How long to look for something smaller, in seconds.
        #[arg(long, default_value_t = 60)]
        budget_s: u64,
        /// Where the script goes; to standard output without.
        #[arg(long)]
        emit: Option<PathBuf>,
    },
    /// Plants every fault and looks who catches it.
    Mutants {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this one.
        #[arg(long)]
        only: Option<String>,
    },
}

#[derive(Args)]
struct Seeds {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
}

#[derive(Args)]
struct Kind {
    /// What the broker may do: keep its contract, lose what it acknowledged, or both in turn.
    #[arg(long, value_enum, default_value = "both")]
    profile: Profile,
    /// Which faults there may be; all scenarios of the profile in turn without.
    #[arg(long, value_parser = scenario)]
    scenario: Option<Scenario>,
    /// A fault to plant.
    #[arg(long, value_parser = quirk)]
    quirk: Option<Quirk>,
}

/// What the broker may do.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Profile {
    /// Keep its contract.
    Contract,
    /// Lose what it acknowledged.
    Disaster,
    /// Both in turn.
    Both,
}

impl Kind {
    fn scenarios(&self) -> Vec<Scenario> {
        match (self.scenario, self.profile) {
            (Some(one), _) => vec![one],
            (None, Profile::Contract) => Scenario::CONTRACT.to_vec(),
            (None, Profile::Disaster) => vec![Scenario::Disaster],
            (None, Profile::Both) => Scenario::ALL.to_vec(),
        }
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let names = || Scenario::ALL.map(Scenario::name).join(", ");
    Scenario::parse(name).ok_or_else(|| format!("there are: {}", names()))
}

fn quirk(name: &str) -> Result<Quirk, String> {
    let found = Quirk::ALL.iter().find(|quirk| format!("{quirk:?}") == name);
    found.copied().ok_or_else(|| "`sim mutants` lists them".to_owned())
}

fn scripts(out: &mut impl Write, files: &[PathBuf]) -> io::Result<bool> {
    let mut holds = true;
    for file in files {
        let checked = match Script::parse(&fs::read_to_string(file)?) {
            Ok(script) => script.check(),
            Err(wrong) => Err(wrong.to_string()),
        };
        holds &= checked.is_ok();
        writeln!(out, "{}: {}", file.display(), checked.err().as_deref().unwrap_or("holds"))?;
    }
    Ok(holds)
}

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let holds = match Arguments::parse().command {
        Command::Run { seeds: Seeds { seed, seeds }, kind } => {
            let jobs = jobs(seed, seeds, &kind.scenarios(), kind.quirk);
            report::run(&mut out, &jobs)?.failed.is_empty()
        }
        Command::Grid { seeds: Seeds { seed, seeds } } => {
            let jobs = jobs(seed, seeds, &[Scenario::Disaster], None);
            grid::disasters(&mut out, &jobs)?.0.failed.is_empty()
        }
        Command::Crashes { seeds: Seeds { seed, seeds } } => {
            let summary = report::run(&mut out, &jobs(seed, seeds, &Scenario::CONTRACT, None))?;
            summary.tell_crashes(&mut out)? && summary.failed.is_empty()
        }
        Command::Replay { seed, kind: Kind { scenario, quirk, .. }, last, grep } => {
            let job = Job { seed, scenario: scenario.unwrap_or(Scenario::Everything), quirk };
            report::replay(&mut out, job, &Lines { last, containing: grep })?
        }
        Command::Meta { seeds: Seeds { seed, seeds }, kind } => {
            let jobs = jobs(seed, seeds, &kind.scenarios(), kind.quirk);
            report::meta(&mut out, &jobs)?.is_empty()
        }
        Command::Script { files } => scripts(&mut out, &files)?,
        Command::Shrink { seed, kind: Kind { scenario, quirk, .. }, budget_s, emit } => {
            let script = Script::of_seed(scenario.unwrap_or(Scenario::Everything), seed);
            let Some(shrunk) = shrink(script, quirk, Duration::from_secs(budget_s)) else {
                writeln!(out, "it does not fail")?;
                return Ok(ExitCode::FAILURE);
            };
            report::shrunk(&mut io::stderr(), &shrunk)?;
            match emit {
                Some(file) => fs::write(file, shrunk.script.to_string())?,
                None => write!(out, "{}", shrunk.script)?,
            }
            true
        }
        Command::Mutants { seed, only } => report::mutants(&mut out, seed, only.as_deref())?.is_empty(),
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
