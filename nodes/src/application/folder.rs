//! What the folder of an application holds: its manifests, and what looks like one and would be left out.
//!
//! | in the folder | becomes |
//! |---|---|
//! | `app.yaml`, `sagas/*.yaml`, `sagas/*.yml` and so on | a manifest |
//! | `saga/` with YAML in it, `sagas/x.YAML`, `sagas/sub/x`, a link to nothing | a fault: somebody believes it is read |
//! | anything else | left alone |

use super::{ApplicationError, Fault};
use cloudlysis_core::manifest::suggest::closest;
use cloudlysis_core::manifest::yaml::{SOURCE_BYTES_MAX, Span};
use cloudlysis_core::manifest::{Diagnostic, SourceFile};
use std::fs;
use std::io;
use std::path::Path;

const MAIN: &str = "app.yaml";
const FOLDERS: [&str; 5] = ["aggregates", "projections", "sagas", "schedules", "effects"];
/// Most files read from an application's folder.
pub(super) const FILES_MAX: usize = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<SourceFile>,
    pub(super) faults: Vec<Fault>,
}

/// How the name of a file ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Yaml,
    NearlyYaml,
    Other,
}

impl Ending {
    fn of(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "yaml" | "yml")) => Self::Yaml,
            Some((_, end)) if ["yaml", "yml"].iter().any(|own| end.eq_ignore_ascii_case(own)) => {
                Self::NearlyYaml
            }
            Some(_) | None => Self::Other,
        }
    }
}

/// What a path leads to.
enum Kind {
    File(u64),
    Folder,
    Nothing,
    Other,
}

fn kind(path: &Path) -> io::Result<Kind> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Kind::Folder),
        Ok(metadata) if metadata.is_file() => Ok(Kind::File(metadata.len())),
        Ok(_) => Ok(Kind::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kind::Nothing),
        Err(error) => Err(error),
    }
}

/// Whether what leads to nothing was removed meanwhile, or is how Emacs locks what it edits: `.#NAME`.
fn is_passing(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    is_hidden || !path.is_symlink()
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Result<Vec<String>, ApplicationError> {
    let io = |source| ApplicationError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

impl Found {
    pub(super) fn read(folder: &Path) -> Result<Self, ApplicationError> {
        if !folder.is_dir() {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
            return Err(ApplicationError::Io { path: folder.to_owned(), source });
        }
        let mut found = Self::default();
        for name in names(folder)? {
            let path = folder.join(&name);
            if name == MAIN {
                found.manifest(&path, name);
            } else if FOLDERS.contains(&name.as_str()) {
                found.manifests(&path, &name)?;
            } else if [MAIN, "app.yml"].iter().any(|own| name.eq_ignore_ascii_case(own)) && !path.is_dir() {
                let message = format!("`{name}` is not read: it is called `{MAIN}`");
                found.fault(&name, message, format!("rename it to `{MAIN}`"));
            } else if let Some(ours) = closest(&name.to_lowercase(), FOLDERS)
                && path.is_dir()
                && names(&path).is_ok_and(|inner| inner.iter().any(|own| Ending::of(own) != Ending::Other))
            {
                let message = format!("nothing is read from the folder `{name}`");
                found.fault(&name, message, format!("did you mean `{ours}`?"));
            }
            if found.files.len() + found.faults.len() > FILES_MAX {
                return Err(ApplicationError::TooMany(folder.to_owned()));
            }
        }
        Ok(found)
    }

    /// Everything in one of our folders.
    fn manifests(&mut self, folder: &Path, folder_name: &str) -> Result<(), ApplicationError> {
        match kind(folder) {
            Ok(Kind::Folder) => {}
            Ok(Kind::Nothing) => {
                self.link_to_nothing(folder_name);
                return Ok(());
            }
            Ok(Kind::File(_) | Kind::Other) => {
                let message = format!("`{folder_name}` is a file, where a folder with manifests is expected");
                let help = format!("a manifest is a file in it: `{folder_name}/NAME.yaml`");
                self.fault(folder_name, message, help);
                return Ok(());
            }
            Err(source) => return Err(ApplicationError::Io { path: folder.to_owned(), source }),
        }
        for name in names(folder)? {
            let (path, file) = (folder.join(&name), format!("{folder_name}/{name}"));
            match Ending::of(&name) {
                Ending::Yaml => self.manifest(&path, file),
                // What tools leave behind begins with a dot.
                Ending::NearlyYaml | Ending::Other if name.starts_with('.') => {}
                Ending::NearlyYaml => {
                    let message =
                        format!("`{file}` is not read: a manifest's name ends with `.yaml` or `.yml`");
                    self.fault(&file, message, "rename it, in lower case".into());
                }
                Ending::Other if path.is_dir() && names(&path).is_ok_and(|inner| !inner.is_empty()) => {
                    let message = format!("`{file}` is not read: there are no folders in `{folder_name}`");
                    self.fault(&file, message, format!("move its manifests to `{folder_name}`"));
                }
                Ending::Other => {}
            }
            if self.files.len() + self.faults.len() > FILES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// One manifest.
    fn manifest(&mut self, path: &Path, file: String) {
        match kind(path) {
            Ok(Kind::File(bytes)) if bytes > SOURCE_BYTES_MAX as u64 => {
                let message = format!("the file is {bytes} bytes long; at most {SOURCE_BYTES_MAX} are read");
                self.fault(&file, message, "put what it says into several".into());
            }
            Ok(Kind::File(_)) => match fs::read(path) {
                Ok(bytes) => self.text(file, bytes),
                Err(error) => self.unreadable(&file, &error),
            },
            Ok(Kind::Nothing) if is_passing(path) => {}
            Ok(Kind::Nothing) => self.link_to_nothing(&file),
            Ok(Kind::Folder) => {
                let message = format!("`{file}` is a folder, where a file is expected");
                self.fault(&file, message, "a manifest is one file".into());
            }
            Ok(Kind::Other) => {
                let message = format!("`{file}` is neither a file nor a link to one");
                self.fault(&file, message, "a manifest is one file".into());
            }
            Err(error) => self.unreadable(&file, &error),
        }
    }

    fn text(&mut self, path: String, bytes: Vec<u8>) {
        match String::from_utf8(bytes) {
            Ok(text) => self.files.push(SourceFile { path, text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let message = format!("the file is not UTF-8: byte {at} is no part of a character");
                let help = Some("save it as UTF-8".to_owned());
                let diagnostic = Diagnostic { file: path, span: Span { start: at, end: at }, message, help };
                let text = String::from_utf8_lossy(error.as_bytes());
                self.faults.push(Fault::new(diagnostic, &text));
            }
        }
    }

    fn link_to_nothing(&mut self, file: &str) {
        let help = "remove it, or let it lead to a manifest".to_owned();
        self.fault(file, format!("`{file}` is a link to nothing"), help);
    }

    fn unreadable(&mut self, file: &str, error: &io::Error) {
        self.fault(file, format!("`{file}` cannot be read: {error}"), "let this user read it".into());
    }

    fn fault(&mut self, file: &str, message: String, help: String) {
        let diagnostic =
            Diagnostic { file: file.to_owned(), span: Span::default(), message, help: Some(help) };
        self.faults.push(Fault::new(diagnostic, ""));
    }
}
