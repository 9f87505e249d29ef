//! The simulated world.
pub mod app;
pub mod oracles;
pub mod plan;
pub mod run;
pub mod trace;
pub mod world;
