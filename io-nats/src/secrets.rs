//! Secrets of effects: read where they are kept, put into a request, and forgotten.
//!
//! A secret is the file of its name in the directory of secrets, or else the environment variable
//! `CLOUDLYSIS_SECRETS__NAME`. The file goes first, because it can be replaced while a node runs: it is read again when
//! what was read is older than a second, so a new value is used a second later at the most. One line end at the end of a
//! file is not part of the secret.

use cloudlysis_core::manifest::{SecretHeader, SecretName, SecretPart};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The environment variable of a secret is this and its name in capitals.
pub const ENVIRONMENT_PREFIX: &str = "CLOUDLYSIS_SECRETS__";

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 16 << 10;

/// How long a value may be used before it is read again.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// A value that is never shown: its `Debug` says nothing, and it has no `Display`.
#[derive(Clone)]
struct Secret(Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a secret cannot be used. Never says anything of its value.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It is nowhere.
    #[error(
        "secret `{name}` is missing: put it into a file of that name in --secrets-dir, or into {variable}"
    )]
    Missing {
        /// Which.
        name: SecretName,
        /// The environment variable it could be in.
        variable: String,
    },
    /// Its file is there and cannot be read.
    #[error("secret `{name}`: {}: {source}", path.display())]
    Unreadable {
        /// Which.
        name: SecretName,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot stand in a header.
    #[error(
        "secret `{0}` cannot stand in a header: it must be one line of 1 to 16384 visible ASCII characters"
    )]
    Unfit(SecretName),
}

/// A header whose secret cannot be used.
#[derive(Debug, Error)]
#[error("header `{header}`: {source}")]
pub struct HeaderError {
    /// Which header.
    pub header: String,
    /// What is wrong.
    pub source: SecretError,
}

/// Where secrets are kept.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: Option<PathBuf>,
    /// As many as there are names in the manifests.
    read: Arc<Mutex<BTreeMap<SecretName, (Instant, Secret)>>>,
}

impl Secrets {
    /// Secrets of this directory and of the environment; of the environment alone without one.
    #[must_use]
    pub fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_owned), read: Arc::default() }
    }

    /// Reads every secret that these headers need, and forgets it.
    ///
    /// # Errors
    /// The first header whose secret cannot be used.
    pub fn check(&self, headers: &[SecretHeader]) -> Result<(), HeaderError> {
        headers.iter().try_for_each(|header| self.fill(header).map(drop))
    }

    /// A header's value.
    ///
    /// # Errors
    /// When one of its secrets cannot be used.
    pub(crate) fn fill(&self, header: &SecretHeader) -> Result<String, HeaderError> {
        let mut out = String::new();
        for part in &header.parts {
            match part {
                SecretPart::Text(text) => out.push_str(text),
                SecretPart::Secret(name) => {
                    let secret = self.get(name);
                    let secret =
                        secret.map_err(|source| HeaderError { header: header.name.clone(), source })?;
                    out.push_str(&secret.0);
                }
            }
        }
        Ok(out)
    }

    fn get(&self, name: &SecretName) -> Result<Secret, SecretError> {
        let now = Instant::now();
        // Whoever panicked while holding it left whole values behind.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, secret)) = read.get(name)
            && now.duration_since(*at) < FRESH_FOR
        {
            return Ok(secret.clone());
        }
        let secret = self.look_up(name)?;
        read.insert(name.clone(), (now, secret.clone()));
        Ok(secret)
    }

    fn look_up(&self, name: &SecretName) -> Result<Secret, SecretError> {
        let variable = format!("{ENVIRONMENT_PREFIX}{}", name.as_str().to_ascii_uppercase());
        let from_file = self.dir.as_ref().map(|dir| read_file(&dir.join(name.as_str()), name)).transpose()?;
        let value = match from_file.flatten() {
            Some(value) => value,
            None => {
                std::env::var(&variable).map_err(|_| SecretError::Missing { name: name.clone(), variable })?
            }
        };
        let fits = (1..=SECRET_BYTES_MAX).contains(&(value.len() as u64));
        if fits && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            Ok(Secret(value.into()))
        } else {
            Err(SecretError::Unfit(name.clone()))
        }
    }
}

/// What a file holds, without one line end; `None` if there is no such file.
fn read_file(path: &Path, name: &SecretName) -> Result<Option<String>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { name: name.clone(), path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut value = Vec::new();
    // One byte and a line end more than it may have shows that it is too long.
    file.take(SECRET_BYTES_MAX + 3).read_to_end(&mut value).map_err(unreadable)?;
    let value = String::from_utf8(value).map_err(|_| SecretError::Unfit(name.clone()))?;
    let line = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Some(line.unwrap_or(&value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(secret: &str) -> SecretHeader {
        let name = SecretName::parse(secret).expect("a name");
        let parts = vec![SecretPart::Text("Bearer ".into()), SecretPart::Secret(name)];
        SecretHeader { name: "authorization".into(), parts }
    }

    #[test]
    fn a_file_is_put_in_and_a_new_one_a_second_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        std::fs::write(&file, "one\r\n").expect("written");
        let secrets = Secrets::new(Some(dir.path()));
        assert_eq!(secrets.fill(&header("token")).expect("a value"), "Bearer one");
        std::fs::write(&file, "two").expect("written");
        let age = |by: Duration| {
            let mut read = secrets.read.lock().expect("nobody panicked");
            read.values_mut().for_each(|(at, _)| *at = at.checked_sub(by).expect("not that long ago"));
        };
        assert_eq!(secrets.fill(&header("token")).expect("a value"), "Bearer one");
        age(FRESH_FOR);
        assert_eq!(secrets.fill(&header("token")).expect("a value"), "Bearer two");
        std::fs::remove_file(&file).expect("removed");
        age(FRESH_FOR);
        let error = secrets.fill(&header("token")).expect_err("it is gone").to_string();
        assert!(
            error.contains("secret `token` is missing") && error.contains("CLOUDLYSIS_SECRETS__TOKEN"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused_and_not_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::new(Some(dir.path()));
        for value in ["", "\n", "hush\nhush", "h\u{fc}sh", &"x".repeat(20_000)] {
            std::fs::write(dir.path().join("token"), value).expect("written");
            let error = secrets.check(&[header("token")]).expect_err("unfit").to_string();
            assert!(
                error.contains("header `authorization`: secret `token` cannot stand in a header"),
                "{error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
        std::fs::create_dir(dir.path().join("folder")).expect("made");
        let error = secrets.check(&[header("folder")]).expect_err("a directory");
        assert!(matches!(error.source, SecretError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("token"), "hush-hush").expect("written");
        let secrets = Secrets::new(Some(dir.path()));
        assert_eq!(secrets.fill(&header("token")).expect("a value"), "Bearer hush-hush");
        let shown = format!("{secrets:?}");
        assert!(shown.contains("***") && !shown.contains("hush"), "{shown}");
    }
}
