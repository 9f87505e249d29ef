//! Programs that are compiled into the binary, by the names that manifests call them by.
//!
//! A name says its version (`fulfil.placed@2`): whoever began under one keeps it, so a binary has all versions that anything
//! open may still need, and refuses to go on without one.
//!
//! A native program is held to the same contract as a written one. What it takes is for itself to charge, and a panic in it
//! stops its partition: it must be a pure function of its inputs.

use super::Program;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The native programs of a binary.
#[derive(Clone, Default)]
pub struct Natives(Arc<BTreeMap<String, Arc<dyn Program>>>);

impl Natives {
    /// These, and one more. A name that is there already means the new one from now on.
    #[must_use]
    pub fn with(mut self, name: &str, program: impl Program + 'static) -> Self {
        Arc::make_mut(&mut self.0).insert(name.to_owned(), Arc::new(program));
        self
    }

    /// The program of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Program>> {
        self.0.get(name).cloned()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Programs of the same names are the same programs: that is what a name is for.
impl PartialEq for Natives {
    fn eq(&self, other: &Self) -> bool {
        self.names().eq(other.names())
    }
}

impl fmt::Debug for Natives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
