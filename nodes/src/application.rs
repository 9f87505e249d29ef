//! Reading an application's folder, and showing what is wrong with it.

use cloudlysis_core::manifest::{App, Diagnostic, SourceFile};
use cloudlysis_core::program::Natives;
use miette::{Diagnostic as MietteDiagnostic, LabeledSpan, NamedSource, SourceCode};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use thiserror::Error;

const FOLDERS: [&str; 5] = ["aggregates", "projections", "sagas", "schedules", "effects"];
/// Most files read from an application's folder.
const FILES_MAX: usize = 10_000;

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
            let (line, column) = fault.position();
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

#[derive(Debug)]
struct Fault {
    diagnostic: Diagnostic,
    source: NamedSource<String>,
}

impl Fault {
    fn position(&self) -> (usize, usize) {
        let before = self.source.inner().get(..self.diagnostic.span.start).unwrap_or_default();
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
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
        Some(&self.source)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.diagnostic.span;
        let label = LabeledSpan::new_with_span(Some("here".into()), (span.start, span.end - span.start));
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

/// Reads and checks the application in a folder. `vars` override the variables of its `app.yaml`.
///
/// # Errors
/// [`ApplicationError`] when it cannot be read, or with every fault of its manifests.
pub fn load(folder: &Path, vars: &BTreeMap<String, String>) -> Result<App, ApplicationError> {
    let files = read(folder)?;
    App::load_with(&files, vars, NATIVES.get_or_init(Natives::default)).map_err(|diagnostics| {
        let source = |file: &str| files.iter().find(|own| own.path == file).map_or("", |own| &own.text);
        let faults = diagnostics
            .into_iter()
            .map(|diagnostic| Fault {
                source: NamedSource::new(&diagnostic.file, source(&diagnostic.file).to_owned()),
                diagnostic,
            })
            .collect();
        ApplicationError::Faults(Faults { faults })
    })
}

fn read(folder: &Path) -> Result<Vec<SourceFile>, ApplicationError> {
    let mut files = Vec::new();
    let main = folder.join("app.yaml");
    if !folder.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
        return Err(ApplicationError::Io { path: folder.to_owned(), source });
    }
    if main.is_file() {
        files.push(read_file(&main, "app.yaml".into())?);
    }
    for name in FOLDERS {
        let inner = folder.join(name);
        if !inner.is_dir() {
            continue;
        }
        let io = |source| ApplicationError::Io { path: inner.clone(), source };
        for entry in fs::read_dir(&inner).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if !yaml || !path.is_file() {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(ApplicationError::TooMany(folder.to_owned()));
            }
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(read_file(&path, format!("{name}/{file}"))?);
        }
    }
    Ok(files)
}

fn read_file(path: &Path, name: String) -> Result<SourceFile, ApplicationError> {
    let text =
        fs::read_to_string(path).map_err(|source| ApplicationError::Io { path: path.to_owned(), source })?;
    Ok(SourceFile { path: name, text })
}
