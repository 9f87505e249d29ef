//! What the tree promises about itself: layout, registers, dependencies, words.

use cloudlysis_core::quirks::Quirk;
use cloudlysis_core::{Invariant, Mark};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file a reader should meet.
const FILE_LINES_MAX: usize = 500;
/// Everything the core may use: data, expressions, hashes, signatures. No runtime, no clock, no randomness.
const CORE_DEPENDENCIES: [&str; 11] = [
    "base64",
    "bytes",
    "cel",
    "ed25519-dalek",
    "granit-parser",
    "jiff",
    "serde",
    "serde_ignored",
    "serde_json",
    "sha2",
    "thiserror",
];

struct File {
    /// Relative to the workspace, with forward slashes.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn collect(folder: &Path, out: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // In a worktree `.git` is a file, with a path of the machine in it.
        if matches!(name.as_str(), "target" | ".git" | ".cloudlysis" | "corpus" | "artifacts") {
            continue;
        }
        if path.is_dir() {
            collect(&path, out);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("inside").to_string_lossy().replace('\\', "/");
            out.push(File { path, text });
        }
    }
}

fn files() -> Vec<File> {
    let mut out = Vec::new();
    collect(&root(), &mut out);
    assert!(out.len() > 100, "{} files found", out.len());
    out
}

fn sources() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

#[test]
fn the_core_depends_on_nothing_else() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).expect("the manifest");
    let section = manifest.split("[dependencies]").nth(1).expect("dependencies");
    let names: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, CORE_DEPENDENCIES);
}

#[test]
fn there_is_one_provider_of_cryptography() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
    assert!(lock.contains("name = \"ring\""));
    assert!(!lock.contains("name = \"aws-lc-rs\""), "one rustls provider in the graph");
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for File { path, text } in sources() {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
        assert!(text.starts_with("//!"), "{path} has no header");
    }
}

#[test]
fn no_room_has_a_name_that_says_nothing() {
    for File { path, .. } in files() {
        let says_nothing = |part: &str| {
            matches!(part.trim_end_matches(".rs"), "util" | "utils" | "common" | "helpers" | "misc")
        };
        assert!(!path.split('/').any(says_nothing), "{path}");
    }
}

#[test]
fn nothing_is_left_for_later_or_names_a_machine() {
    let unwanted = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["#[ign", "ore"].concat(),
        ["/ho", "me/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/wo", "rk/"].concat(),
        ["/tmp/", "bash_jobs"].concat(),
    ];
    for File { path, text } in files() {
        for (line, content) in text.lines().enumerate() {
            for word in &unwanted {
                assert!(!content.contains(word), "{path}:{}: {word}", line + 1);
            }
        }
    }
}

/// Every `INV-…` that a text mentions.
fn mentioned(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices("INV-") {
        let id: String = text[at..]
            .chars()
            .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '-')
            .collect();
        let id = id.trim_end_matches('-');
        if id.ends_with(|c: char| c.is_ascii_digit()) {
            out.insert(id.to_owned());
        }
    }
    out
}

#[test]
fn invariants_are_registered_checked_and_spelt_alike() {
    let registered: BTreeSet<String> =
        Invariant::ALL.iter().map(|invariant| invariant.id().to_owned()).collect();
    let sources = sources();
    for File { path, text } in &sources {
        for id in mentioned(text) {
            assert!(registered.contains(&id), "{path} mentions {id}, which is not registered");
        }
    }
    for invariant in Invariant::ALL {
        let used = |file: &&File| {
            !file.path.ends_with("invariants.rs")
                && (file.text.contains(invariant.id())
                    || file.text.contains(&format!("Invariant::{invariant:?}")))
        };
        assert!(sources.iter().any(|file| used(&file)), "{} is only registered", invariant.id());
    }
}

#[test]
fn marks_and_planted_faults_have_their_places() {
    let sources = sources();
    let production = |file: &&File| {
        !file.path.contains("tests") && !file.path.ends_with("marks.rs") && !file.path.ends_with("quirks.rs")
    };
    for mark in Mark::ALL {
        let name = format!("Mark::{mark:?}");
        assert!(
            sources.iter().filter(production).any(|file| file.text.contains(&name)),
            "{name} is never hit"
        );
    }
    for quirk in Quirk::ALL {
        let name = format!("Quirk::{quirk:?}");
        let sites = sources
            .iter()
            .filter(production)
            .filter(|file| !file.path.starts_with("sim-tests"))
            .map(|file| file.text.matches(&name).count())
            .sum::<usize>();
        assert!(sites >= 1, "{name} is planted nowhere");
    }
}
