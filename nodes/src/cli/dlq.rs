//! The command line: what is held back.

use super::{Because, NodeArguments};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A kind of node that holds messages back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DlqNode {
    /// The runner: of sagas and effects.
    Runner,
    /// The projection: of views.
    Projection,
}

impl DlqNode {
    /// As paths name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Projection => "projection",
        }
    }
}

/// `cloudlysis dlq`: what.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List what is held back, key by key.
    Ls {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Of this kind of node only.
        #[arg(long, value_enum)]
        of: Option<DlqNode>,
        /// Held back for this reason only: a group of `dlq groups`.
        #[arg(long)]
        group: Option<String>,
    },
    /// List the reasons, and how many keys and messages, of all tenants, each holds back.
    Groups {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Of this kind of node only.
        #[arg(long, value_enum)]
        of: Option<DlqNode>,
    },
    /// Show the messages of one key, in order.
    Show {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Of this kind of node only.
        #[arg(long, value_enum)]
        of: Option<DlqNode>,
        /// The key, as `dlq ls` names it.
        key: String,
    },
    /// Freeze what a runner holds back now, to be redriven or dropped together.
    Select {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which keys.
        #[command(flatten)]
        keys: Keys,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// List selections, oldest first, and how far each is.
    Selections {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Apply again what is selected, first message first. What cannot be applied stays where it is.
    #[command(override_usage = "cloudlysis dlq replay <SELECTION> [OPTIONS]\n       \
                                cloudlysis dlq replay <--group ID|--key KEY|--all> --reason <REASON> [OPTIONS]")]
    Replay {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// What.
        #[command(flatten)]
        what: Selected,
        /// At most so many messages in a second, from 1 to 1000.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        per_second: u32,
        /// Have saga instances react by today's manifest from now on: that of a program that was mended.
        #[arg(long)]
        migrate: bool,
    },
    /// Drop what is selected.
    #[command(override_usage = "cloudlysis dlq discard <SELECTION> [OPTIONS]\n       \
                                cloudlysis dlq discard <--group ID|--key KEY|--all> --reason <REASON> [OPTIONS]")]
    Discard {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// What.
        #[command(flatten)]
        what: Selected,
    },
    /// Drop everything that a runner holds back, of one tenant or of all.
    Purge {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// That it is meant: nothing brings it back.
        #[arg(long, required = true)]
        yes: bool,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Give back the keys of a selection whose turn has not come, and end it.
    Unselect {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The selection.
        selection: String,
    },
    /// Drop the first message of a key, so that those behind it can be replayed.
    Skip {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The key, as `dlq ls` names it.
        key: String,
        /// The position of that message, as `dlq show` says: asking twice drops one message.
        #[arg(long)]
        position: u64,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Replace the body of a message that a runner holds back.
    Edit {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The key, as `dlq ls` names it.
        key: String,
        /// Which message, as `dlq show` says.
        #[arg(long)]
        position: u64,
        /// A file with the new body; `-` is standard input.
        #[arg(long)]
        payload: PathBuf,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
}

/// Which of the keys that are held back.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub struct Keys {
    /// Those held back for this reason: a group of `dlq groups`.
    #[arg(long)]
    pub group: Option<String>,
    /// This one.
    #[arg(long)]
    pub key: Option<String>,
    /// All of them.
    #[arg(long)]
    pub all: bool,
}

/// A selection, or what to select.
#[derive(Clone, Debug, Args)]
pub struct Selected {
    /// A selection; without one, what is selected first by --group, --key or --all.
    #[arg(conflicts_with_all = ["group", "key", "all", "reason"], required_unless_present_any = ["group", "key", "all"])]
    pub selection: Option<String>,
    /// Which keys.
    #[command(flatten)]
    pub keys: Keys,
    /// Why: kept with the selection, and logged.
    #[arg(long, required_unless_present = "selection")]
    pub reason: Option<String>,
    /// Do not wait until it has ended: `dlq selections` says how far it is.
    #[arg(long)]
    pub detach: bool,
}
