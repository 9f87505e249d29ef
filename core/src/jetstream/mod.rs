//! The broker.
pub mod api;
