//! Programs: the part of an application that decides.
//!
//! A program is a pure function of its inputs and a gas budget: no clock, no randomness, no I/O. It never retries by
//! itself; an error quarantines the key it was working for.
//!
//! | contract | inputs | output |
//! |---|---|---|
//! | `decide` | `state`, `command` | events, or a refusal |
//! | `evolve` | `state`, `event` | the next state |
//! | `project` | `view`, `event` | a row, its removal, or nothing |
//! | `on_event`, `compensation` | `state`, `event` | the next state and work items |
//!
//! [`Program`] is the common trait; [`dag`] is the kind that manifests write, [`contract`] gives outputs their meaning.
//! [`native`] Rust implements the same trait; WebAssembly will.
//!
//! - INV-PRG-1: the same program on the same input gives the same output and uses the same gas.

pub mod contract;
pub mod dag;
mod expr;
mod gas;
pub mod native;
mod template;
mod value;

pub use expr::{ExprError, SOURCE_BYTES_MAX};
pub use gas::{GAS_MAX_DEFAULT, Gas};
pub use native::Natives;

use serde_json::Value;
use std::fmt::Debug;
use thiserror::Error;

/// The named values a program reads.
pub type Inputs<'a> = [(&'static str, &'a Value)];

/// A pure function from named values to an object of output sections.
pub trait Program: Debug + Send + Sync {
    /// Runs it.
    ///
    /// # Errors
    /// [`ProgramError`] when it cannot give an answer. Never retried.
    fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError>;
}

/// Why a program gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ProgramError {
    /// An expression failed: a missing field, a type that does not fit, an overflow.
    #[error("expression failed: {detail}")]
    Evaluation {
        /// What the evaluator said.
        detail: String,
    },
    /// The output cannot be used.
    #[error("output: {detail}")]
    Output {
        /// What is wrong with it.
        detail: String,
    },
    /// The budget is used up: fewer or smaller collections, or a larger budget, are needed.
    #[error("out of gas: more than {budget} needed")]
    OutOfGas {
        /// The budget.
        budget: u64,
    },
}

impl ProgramError {
    /// A short, stable name for grouping: what kind of failure it was.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Evaluation { .. } => "evaluation",
            Self::Output { .. } => "output",
            Self::OutOfGas { .. } => "out_of_gas",
        }
    }
}
