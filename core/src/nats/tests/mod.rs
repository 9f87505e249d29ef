//! Scripts with recorded bytes, and properties.

mod parsing;
mod recorded;
mod routing;
mod serving;
mod talk;
mod who;
mod writing;
