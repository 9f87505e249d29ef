//! The arguments of `cloudlysis effect`.

use super::{Because, NodeArguments};
use clap::{Args, Subcommand, ValueEnum};

/// How far an effect is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Stage {
    /// It has not ended: it is called, or will be.
    Open,
    /// It waits for a person.
    Parked,
    /// It has ended.
    Settled,
}

/// `cloudlysis effect`: what.
#[derive(Debug, Subcommand)]
pub enum Effect {
    /// List effects as the ledger has them.
    Ls {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Of this name only.
        #[arg(long)]
        effect: Option<String>,
        /// Only those that are so far.
        #[arg(long, value_enum)]
        stage: Option<Stage>,
    },
    /// Show one effect.
    Show {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The id of its command.
        id: String,
    },
    /// Have effects that wait for a person called again, under the same key, with all their attempts and their time.
    Retry {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which effects.
        #[command(flatten)]
        which: Retried,
        /// They may happen although they may have happened already and their manifests say at most once.
        #[arg(long)]
        may_repeat: bool,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Say how an effect ended that has not, and is not being called.
    Settle {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The id of its command.
        id: String,
        /// How it ended.
        #[arg(value_enum)]
        outcome: Outcome,
        /// What its saga is told, as JSON, in the place of the answer; `{}` unless said.
        #[arg(long)]
        payload: Option<String>,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
}

/// Which effects are retried.
#[derive(Debug, Args)]
pub struct Retried {
    /// The ids of their commands.
    #[arg(required_unless_present = "parked", conflicts_with = "parked")]
    pub ids: Vec<String>,
    /// All that wait for a person, of the tenant, or of all tenants without one.
    #[arg(long)]
    pub parked: bool,
    /// With --parked: of this name only.
    #[arg(long, requires = "parked")]
    pub effect: Option<String>,
}

/// How an effect ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Outcome {
    /// It was done.
    Succeeded,
    /// It was not done, and will not be.
    Failed,
}
