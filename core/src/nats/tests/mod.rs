//! Scripts with recorded bytes, and properties.

mod parsing;
mod writing;
