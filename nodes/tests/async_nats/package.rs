//! The package whose tests are run: unpacked beside the build, never committed.
//!
//! Cargo has fetched and checked async-nats as a dependency already; its package holds its tests. They are copied into a
//! package of their own, with the published crate as a dependency and [`nats-server`](../nats-server/src/lib.rs) as what
//! starts servers.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// What the published package says about itself, as far as its tests need it.
const MANIFEST: &str = include_str!("package.toml");

/// A test executable.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    /// The name of the file with its tests.
    pub(crate) file: String,
    pub(crate) path: PathBuf,
}

/// Where the tests run: they name their certificates and configurations from there.
pub(crate) fn dir() -> PathBuf {
    workspace().join("target").join("async-nats-tests")
}

/// Unpacks and compiles. Says what takes its time as it goes.
pub(crate) fn build() -> Vec<Executable> {
    let dir = dir();
    let (tests, source) = (dir.join("tests"), published());
    if tests.exists() {
        fs::remove_dir_all(&tests).expect("the tests of an earlier run go");
    }
    copy(&source.join("tests"), &tests);
    fs::create_dir_all(dir.join("src")).expect("a directory");
    write(&dir.join("src").join("lib.rs"), "");
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/async_nats/nats-server");
    let shim = shim.to_str().expect("a path that is text");
    write(&dir.join("Cargo.toml"), &MANIFEST.replace("NATS_SERVER", shim));
    // The versions of the workspace where it has one: what is compiled already serves again.
    fs::copy(workspace().join("Cargo.lock"), dir.join("Cargo.lock")).expect("the versions are copied");
    compile(&dir)
}

fn compile(dir: &Path) -> Vec<Executable> {
    let built = cargo()
        .args(["test", "--no-run", "--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(dir.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", workspace().join("target"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "the tests of async-nats do not compile");
    let text = String::from_utf8(built.stdout).expect("cargo writes text");
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executables = messages.filter_map(|message| {
        let (target, path) = (&message["target"], message["executable"].as_str()?);
        let is_test = target["kind"][0] == "test";
        is_test.then(|| Executable {
            file: target["name"].as_str().unwrap_or_default().to_owned(),
            path: PathBuf::from(path),
        })
    });
    let mut executables: Vec<_> = executables.collect();
    executables.sort_by(|a, b| a.file.cmp(&b.file));
    executables
}

/// Where cargo keeps the package.
fn published() -> PathBuf {
    let asked = cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(workspace().join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    let metadata: Value = serde_json::from_slice(&asked.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "async-nats").expect("we use async-nats");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a manifest is in a directory").to_owned()
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    // What the outer cargo says about the package under test is nothing to the inner one.
    for (name, _) in
        env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name == "CARGO_MANIFEST_DIR")
    {
        cargo.env_remove(name);
    }
    cargo
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace").to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the package holds its tests") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{} is copied: {error}", from.display()));
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{} is written: {error}", path.display()));
}
