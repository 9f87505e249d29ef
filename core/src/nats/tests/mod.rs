//! Scripts with recorded bytes, and properties.

mod parsing;
mod recorded;
mod routing;
mod serving;
mod talk;
mod transcript;
mod who;
mod writing;
