//! The arguments of `cloudlysis schedule`.

use super::{Because, NodeArguments};
use clap::Subcommand;

/// `cloudlysis schedule`: what.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// List schedules: when each is next due, and what became of its occurrences.
    Ls {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Show one schedule.
    Show {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The schedule.
        schedule: String,
    },
    /// Fire nothing by the calendar until it is resumed.
    Pause {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The schedule.
        schedule: String,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Let a paused schedule go on; what fell due meanwhile is caught up with as its manifest says.
    Resume {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The schedule.
        schedule: String,
    },
    /// Have one occurrence fire now, besides the calendar, paused or not.
    Trigger {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The schedule.
        schedule: String,
        /// Names the occurrence: asked for again under the same name, it fires once.
        #[arg(long)]
        id: Option<String>,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Have the occurrences of a time that has passed fire, oldest first, besides what has fired.
    Backfill {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The schedule.
        schedule: String,
        /// From then on: 2026-11-21T00:00:00Z.
        #[arg(long)]
        from: String,
        /// Until then, this moment included.
        #[arg(long)]
        to: String,
        /// Names the request: asked for again under the same name, it is done once.
        #[arg(long)]
        id: Option<String>,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Drop what is left of a backfill.
    StopBackfill {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The schedule.
        schedule: String,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
}
