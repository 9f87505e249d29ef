//! Scripts with recorded bytes, and properties.

mod parsing;
mod routing;
mod writing;
