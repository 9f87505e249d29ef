//! Manifests: an application as a folder of YAML files, checked as a whole before anything runs.
//!
//! ```text
//! shop/
//!   app.yaml             name, variables, egress allow-list, services for development
//!   aggregates/*.yaml    state, commands (decide), events (evolve)
//!   projections/*.yaml   which events feed which view, and how
//!   sagas/*.yaml         correlation, on_event, timers, signals, compensation
//!   schedules/*.yaml     what happens again and again, by the calendar
//!   effects/*.yaml       calls to the outside: request, timeout, retry, meaning of statuses
//! ```
//!
//! Loading never stops at the first fault: it reports every one it can see, each with the place in the author's file.
//! Unknown fields are faults with a did-you-mean. References across files (events, effects, aggregates) must resolve.
//!
//! The core does not read files: whoever runs it hands over paths and texts.

mod aggregate;
mod app;
pub mod diagnostic;
mod effect;
mod egress;
mod limits;
mod native;
mod occurrence;
mod parts;
mod projection;
mod provider;
pub mod reader;
mod saga;
mod schedule;
mod secret;
pub mod suggest;
mod timer;
mod variables;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use aggregate::AggregateDef;
pub use app::{App, DevService, SourceFile};
pub use diagnostic::Diagnostic;
pub use effect::{Delivery, EffectDef, Meaning, Retry};
pub use egress::Egress;
pub use limits::{EffectLimits, LaneLimits, Rate};
pub use native::{Native, SagaProgram};
pub use occurrence::{FilledTarget, FiredBy};
pub use projection::{ProjectionDef, ProjectionSource};
pub use provider::{BuiltinRequest, EffectRequest, HttpRequest, NatsRequest};
pub use saga::{SagaDef, Trigger, WorkKind, WorkOutcome};
pub use schedule::{CatchUp, Overlap, ROWS_MAX, ScheduleDef, ScheduleTarget};
pub use secret::{SecretHeader, SecretName, SecretPart};
pub use variables::Overrides;
