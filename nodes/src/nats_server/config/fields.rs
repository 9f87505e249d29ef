//! Going through the fields of a map.

use super::value::{Entry, Node, Problem};

/// What somebody made of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// It was understood.
    Read,
    /// The real server has it; here it would change nothing that can be seen.
    Tuning,
    /// The real server has it, and this one does not do what it says.
    Unsupported,
    /// Nobody has it.
    Unknown,
}

/// Shows every entry to `read`, by its key in small letters, and collects what is wrong.
pub(crate) fn each(
    entries: &[Entry],
    problems: &mut Vec<Problem>,
    mut read: impl FnMut(&str, &Node, &mut Vec<Problem>) -> Result<Field, Problem>,
) {
    for Entry { at, key, node, used } in entries {
        let wrong = |text| Problem { at: at.clone(), text };
        match read(&key.to_ascii_lowercase(), node, problems) {
            Ok(Field::Read | Field::Tuning) => {}
            Ok(Field::Unsupported) => {
                problems.push(wrong(format!("field {key:?} is not supported by this server")));
            }
            Ok(Field::Unknown) if *used => {}
            Ok(Field::Unknown) => problems.push(wrong(format!("unknown field {key:?}"))),
            Err(problem) => problems.push(problem),
        }
    }
}
