//! What operators ask a node for: the same verbs over HTTP and over gRPC.
//!
//! ```text
//! http ─┐  a request, read                  ┌─ committed rows, beside the machine
//!       ├─────────────────► sagas, schedules, … ─► operator ─► the machine
//! grpc ─┘  an answer, or a fault, told ◄────┘
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`sagas`], [`schedules`], [`effects`] | what a runner runs: listed, shown, changed |
//! | [`restart`], [`replay`] | sagas begin again, events come again |
//! | [`dlq`], [`redrive`] | what a node holds back, and letting go of it |
//! | [`drain`], [`reload`] | the process as a whole |
//! | [`operator`] | asks the machine, and waits for what it did |
//! | [`fault`] | why something was not done, as each protocol says it |
//! | [`http`], [`grpc`] | translations of all that, and nothing more |
//!
//! Where a node has a token, all of it asks for that ([`crate::token`]).

pub mod dlq;
pub mod drain;
pub mod effects;
pub mod fault;
mod fields;
pub mod grpc;
pub mod http;
pub mod operator;
pub mod redrive;
pub mod reload;
pub mod replay;
pub mod restart;
pub mod rows;
pub mod sagas;
pub mod schedules;

use dlq::DeadLetters;
use effects::Effects;
use redrive::Redrive;
use reload::Reloader;
use sagas::Sagas;
use schedules::Schedules;

/// What operators may ask of a runner. A runner may be two processes: then each has its half.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Where sagas are decided.
    pub sagas: Option<Sagas>,
    /// Where schedules fire.
    pub schedules: Option<Schedules>,
    /// Where effects are carried out.
    pub effects: Option<Effects>,
    /// What is held back.
    pub dead_letters: DeadLetters,
    /// Letting go of it.
    pub redrive: Redrive,
    /// Where manifests can be read anew.
    pub reloads: Option<Reloader>,
}
