//! Reading an application's folder, and showing what is wrong with it.

mod excerpt;
mod folder;

use cloudlysis_core::manifest::{App, Diagnostic, Overrides};
use cloudlysis_core::program::Natives;
use excerpt::Excerpt;
use folder::{FILES_MAX, Found};
use miette::{Diagnostic as MietteDiagnostic, LabeledSpan, SourceCode};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use thiserror::Error;

/// Why an application cannot be used.
#[derive(Debug, Error)]
pub enum ApplicationError {
    /// The folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too many files for an application.
    #[error("{} holds more than {FILES_MAX} manifests: is it the folder of an application?", .0.display())]
    TooMany(PathBuf),
    /// The manifests have faults.
    #[error("{0}")]
    Faults(Faults),
}

impl ApplicationError {
    /// One object per fault: file, position, message, help.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Faults(faults) => faults.to_json(),
            Self::Io { path, .. } | Self::TooMany(path) => serde_json::json!([{
                "file": path.to_string_lossy(), "line": 1, "column": 1,
                "start": 0, "end": 0, "message": self.to_string(), "help": null,
            }]),
        }
    }
}

/// Every fault, with the sources they point into.
#[derive(Debug)]
pub struct Faults {
    faults: Vec<Fault>,
}

impl Faults {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there are none: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// One object per fault: file, position, message, help.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let fault = |fault: &Fault| {
            let Diagnostic { file, span, message, help } = &fault.diagnostic;
            let (line, column) = fault.shown.position();
            serde_json::json!({
                "file": file, "line": line, "column": column,
                "start": span.start, "end": span.end, "message": message, "help": help,
            })
        };
        self.faults.iter().map(fault).collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let theme = miette::GraphicalTheme::unicode_nocolor();
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
        for fault in &self.faults {
            handler.render_report(f, fault)?;
            writeln!(f)?;
        }
        let count = self.faults.len();
        write!(f, "{count} fault{} found", if count == 1 { "" } else { "s" })
    }
}

/// Longest message, and longest advice, in characters: what they quote may be as long as a file.
const WORDS_CHARS_MAX: usize = 600;

#[derive(Debug)]
struct Fault {
    diagnostic: Diagnostic,
    shown: Excerpt,
}

impl Fault {
    fn new(diagnostic: Diagnostic, source: &str) -> Self {
        let Diagnostic { file, span, message, help } = diagnostic;
        let shown = Excerpt::around(&file, source, span);
        let (message, help) = (cut(message), help.map(cut));
        Self { diagnostic: Diagnostic { file, span, message, help }, shown }
    }
}

fn cut(mut words: String) -> String {
    if let Some((at, _)) = words.char_indices().nth(WORDS_CHARS_MAX) {
        words.truncate(at);
        words.push('…');
    }
    words
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Fault {}

impl MietteDiagnostic for Fault {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.shown)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("here".into()), self.shown.span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// The programs of this binary, which manifests may name.
static NATIVES: OnceLock<Natives> = OnceLock::new();

/// Says which native programs this binary has, once, before anything is read.
pub(crate) fn install(natives: Natives) {
    // Set already: by the same `main`, with the same programs.
    drop(NATIVES.set(natives));
}

/// Reads and checks the application in a folder. What is wrong with the folder is told alone: what could not be read is
/// missed by whatever names it.
///
/// # Errors
/// [`ApplicationError`] when it cannot be read, or with every fault of its manifests.
pub fn load(folder: &Path, vars: &Overrides) -> Result<App, ApplicationError> {
    let Found { files, faults } = Found::read(folder)?;
    if !faults.is_empty() {
        return Err(ApplicationError::Faults(Faults { faults }));
    }
    App::load_with(&files, vars, NATIVES.get_or_init(Natives::default)).map_err(|diagnostics| {
        let source = |file: &str| files.iter().find(|own| own.path == file).map_or("", |own| &own.text);
        let fault = |diagnostic: Diagnostic| {
            let source = source(&diagnostic.file);
            Fault::new(diagnostic, source)
        };
        ApplicationError::Faults(Faults { faults: diagnostics.into_iter().map(fault).collect() })
    })
}

#[cfg(test)]
mod tests;
