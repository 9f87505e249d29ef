//! The simulated world that judges the machines.
//!
//! ```text
//!  seed ──► plan ──► world ──────────────► verdict
//!           which    clients, nodes,       the first invariant that did not hold,
//!           faults   broker, outside       with the causes that led to it
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`plan`] | what kind of run a seed is: scenario, fault rates, limits |
//! | [`world`] | everything there is in one run, moved from event to event by one thread |
//! | [`oracles`] | what must hold, told apart from the machines that must hold it |
//! | [`trace`] | what happened and why; its hash says whether two runs were the same |
//! | [`run`] | one seed to its verdict, many on all cores, and the story of a failure |
//! | [`script`] | scenarios as text: what is done to a world, and what must come of it |
//! | [`shrink`] | a failing world made smaller, as a script |
//! | [`mutants`] | every planted fault, with the oracle that must catch it |
//! | [`grid`] | disasters, and how each kind of node came through them |
//! | [`crashes`] | where processes died, and what that left behind |
//! | [`report`] | all of it in words, for `sim` and for the tests |
//! | [`app`] | the application every world runs: the example shop |
//!
//! The machines are those of production; what stands in for the rest of the world is `io-sim`. The workload never ends
//! while faults are on; then the world heals, and everything accepted must come to an end (INV-LIVE-1).
//!
//! There are two profiles. In the contract profile the broker does whatever its contract allows, and every invariant holds
//! absolutely. In the disaster profile it loses what it acknowledged, and no node goes on as if nothing had happened
//! (INV-DIV-1); after the runbook the world lives again.

/// Worlds are made of small rows and JSON trees: the system's allocator takes an eighth of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod app;
pub mod crashes;
pub mod grid;
pub mod mutants;
pub mod oracles;
pub mod plan;
pub mod report;
pub mod run;
pub mod script;
pub mod shrink;
pub mod trace;
pub mod world;
