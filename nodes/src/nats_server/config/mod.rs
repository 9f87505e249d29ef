//! The configuration file of the command.
//!
//! ```text
//!  text ──[parse]──► values with their places ──[schema, users, doors]──► Settings, or problems
//! ```
//!
//! What the real server knows and this one does not do is refused by name, and what neither knows is refused as unknown:
//! a setting without effect is worse than none. Only settings that tune how the real server works inside are
//! accepted and mean nothing here.

mod doors;
mod fields;
mod parse;
mod schema;
#[cfg(test)]
mod tests;
mod users;
mod value;

pub(crate) use doors::TLS_TIMEOUT_DEFAULT;
pub(crate) use schema::jetstream_in;
pub use value::Problem;

use super::settings::Settings;
use parse::World;
use std::fmt;
use std::path::Path;

/// Everything that is wrong with a file, one a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

/// Files and variables of this process.
struct Process;

impl World for Process {
    fn file(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| format!("open {}: {error}", path.display()))
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Reads a file, over what holds without one.
///
/// # Errors
/// All [`Problems`] of the file.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    read(path, &Process)
}

fn read(path: &Path, world: &dyn World) -> Result<Settings, Problems> {
    let entries = parse::parse(path, world).map_err(|problem| Problems(vec![problem]))?;
    let mut settings = schema::settings(&entries)?;
    settings.config_file = Some(path.to_owned());
    Ok(settings)
}
