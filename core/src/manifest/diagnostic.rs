//! What is wrong with a manifest, where, and what to do about it.

use super::yaml::Span;
use std::fmt;

/// One fault in one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The file, relative to the application's folder.
    pub file: String,
    /// Where in it.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault without advice.
    #[must_use]
    pub fn new(file: &str, span: Span, message: String) -> Self {
        Self { file: file.to_owned(), span, message, help: None }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.span.start, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}
