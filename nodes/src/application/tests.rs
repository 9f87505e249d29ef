//! Folders as people leave them.

use super::{ApplicationError, load};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

const SAGA: &str = "saga: s\nstarts_on: []\non_event: {}\n";

/// A sound application with nothing but a saga.
fn application() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("app.yaml"), "app: a\n").expect("written");
    fs::create_dir(dir.path().join("sagas")).expect("created");
    fs::write(dir.path().join("sagas/s.yaml"), SAGA).expect("written");
    dir
}

/// Every fault of a folder, as JSON and as text.
fn faults(folder: &Path) -> (Vec<serde_json::Value>, String) {
    match load(folder, &Default::default()) {
        Ok(_) => (Vec::new(), String::new()),
        Err(ApplicationError::Faults(faults)) => {
            (faults.to_json().as_array().expect("a list").clone(), faults.to_string())
        }
        Err(other @ (ApplicationError::Io { .. } | ApplicationError::TooMany(_))) => panic!("{other}"),
    }
}

/// That an application has exactly this fault after something was done to its folder.
fn refused(file: &str, message: &str, change: impl FnOnce(&Path)) {
    let dir = application();
    change(dir.path());
    let (json, text) = faults(dir.path());
    let told: Vec<_> = json.iter().map(|fault| (fault["file"].as_str(), fault["message"].as_str())).collect();
    assert_eq!(told, [(Some(file), Some(message))]);
    assert!(text.contains(message) && text.contains("1 fault found"), "{text}");
}

#[test]
fn what_an_application_may_have_besides_is_left_alone() {
    let dir = application();
    for folder in [
        "services",
        "sim",
        "tests",
        "schemas",
        "policies",
        "sagas/.git",
        "sagas/empty",
        "scheduler",
        ".github",
    ] {
        fs::create_dir(dir.path().join(folder)).expect("created");
    }
    for file in [
        "README.md",
        "sagas/README.md",
        "sagas/.gitkeep",
        "sagas/.s.YAML",
        "scheduler/main.rs",
        "services/app.yaml",
        "docker-compose.yml",
        "saga",
    ] {
        fs::write(dir.path().join(file), "a: [").expect("written");
    }
    symlink("me@host.4711", dir.path().join("sagas/.#s.yaml")).expect("linked");
    assert_eq!(faults(dir.path()), (Vec::new(), String::new()));
}

#[test]
fn a_folder_that_is_nearly_one_of_ours_is_a_fault() {
    for (name, ours) in [
        ("saga", "sagas"),
        ("Sagas", "sagas"),
        ("effect", "effects"),
        ("aggregate", "aggregates"),
        ("projection", "projections"),
        ("shedules", "schedules"),
    ] {
        let message = format!("nothing is read from the folder `{name}`");
        let dir = application();
        fs::create_dir(dir.path().join(name)).expect("created");
        fs::write(dir.path().join(name).join("t.yml"), SAGA).expect("written");
        let (json, _) = faults(dir.path());
        assert_eq!((json.len(), json[0]["message"].as_str()), (1, Some(message.as_str())));
        assert_eq!(json[0]["help"].as_str(), Some(format!("did you mean `{ours}`?").as_str()));
    }
}

#[test]
fn a_manifest_in_the_wrong_place_is_a_fault_and_not_left_out() {
    for name in ["checkout.YAML", "checkout.Yml", "checkout.YML"] {
        let file = format!("sagas/{name}");
        refused(
            &file,
            &format!("`{file}` is not read: a manifest's name ends with `.yaml` or `.yml`"),
            |folder| {
                fs::write(folder.join(&file), SAGA).expect("written");
            },
        );
    }
    refused("sagas/sub", "`sagas/sub` is not read: there are no folders in `sagas`", |folder| {
        fs::create_dir(folder.join("sagas/sub")).expect("created");
        fs::write(folder.join("sagas/sub/t.yaml"), SAGA).expect("written");
    });
    refused("sagas/d.yaml", "`sagas/d.yaml` is a folder, where a file is expected", |folder| {
        fs::create_dir(folder.join("sagas/d.yaml")).expect("created");
    });
    refused("sagas/d.yaml", "`sagas/d.yaml` is a link to nothing", |folder| {
        symlink("away", folder.join("sagas/d.yaml")).expect("linked");
    });
    refused("effects", "`effects` is a file, where a folder with manifests is expected", |folder| {
        fs::write(folder.join("effects"), "effect: e\n").expect("written");
    });
    refused("effects", "`effects` is a link to nothing", |folder| {
        symlink("away", folder.join("effects")).expect("linked");
    });
    refused("app.yml", "`app.yml` is not read: it is called `app.yaml`", |folder| {
        fs::rename(folder.join("app.yaml"), folder.join("app.yml")).expect("renamed");
    });
    refused("App.yaml", "`App.yaml` is not read: it is called `app.yaml`", |folder| {
        fs::copy(folder.join("app.yaml"), folder.join("App.yaml")).expect("copied");
    });
    refused("app.yaml", "`app.yaml` is a link to nothing", |folder| {
        fs::remove_file(folder.join("app.yaml")).expect("removed");
        symlink("away", folder.join("app.yaml")).expect("linked");
    });
}

#[test]
fn a_link_to_a_manifest_is_read() {
    let dir = application();
    let elsewhere = tempfile::tempdir().expect("a directory");
    fs::write(elsewhere.path().join("t.yaml"), SAGA.replace("saga: s", "saga: t")).expect("written");
    symlink(elsewhere.path().join("t.yaml"), dir.path().join("sagas/t.yaml")).expect("linked");
    let app = load(dir.path(), &Default::default()).expect("sound");
    assert_eq!(app.sagas.len(), 2);
}

#[test]
fn a_file_that_is_not_utf_8_is_a_fault_with_its_place() {
    let dir = application();
    fs::write(dir.path().join("sagas/s.yaml"), b"saga: s\n# caf\xe9\n").expect("written");
    let (json, text) = faults(dir.path());
    assert_eq!(json.len(), 1, "{json:?}");
    assert_eq!(json[0]["file"], "sagas/s.yaml");
    assert_eq!(json[0]["message"], "the file is not UTF-8: byte 13 is no part of a character");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&2.into(), &6.into()));
    assert!(text.contains("sagas/s.yaml:2:6"), "{text}");
}

/// What is printed of a saga's manifest, and its faults.
fn printed(manifest: &str) -> (Vec<serde_json::Value>, String) {
    let dir = application();
    fs::write(dir.path().join("sagas/s.yaml"), manifest).expect("written");
    faults(dir.path())
}

#[test]
fn a_long_line_is_echoed_around_its_fault_alone() {
    let long = "é".repeat(100_000);
    for (manifest, line, column) in [
        (format!("saga: s\nstarts_on: []\non_event: {{}}\nx: \"{long}\"\n"), 4, 1),
        (format!("# {long}\nsaga: s\nstarts_on: []\non_event: {{}}\n# {long}\nx: 1\n# {long}\n"), 6, 1),
        (format!("{{ saga: s, starts_on: [], y_: \"{long}\", on_event: {{}}, }}\n"), 1, 27),
        (format!("saga: s\nstarts_on: []\non_event: {{}}\n{long}: 1\n"), 4, 1),
        (format!("saga: {long}\nstarts_on: []\non_event: {{}}\n"), 1, 7),
        (format!("{{ saga: s, starts_on: [], on_event: {{ a: \"{long}\" }}, x: 1 }}\n"), 1, 39),
        (format!("saga: s\nstarts_on: [\"{long}\", b]\non_event: {{}}\n"), 2, 13),
        ("a: 1\n".repeat(300_000), 1, 1),
        (format!("{}]\n", "#\n".repeat(200_000)), 200_001, 1),
    ] {
        let (json, text) = printed(&manifest);
        let is_there = json.iter().any(|fault| fault["line"] == line && fault["column"] == column);
        assert!(is_there, "{line}:{column} is not among {} faults", json.len());
        assert!(
            text.contains(&format!("sagas/s.yaml:{line}:{column}")),
            "{} bytes: {:.2000}",
            text.len(),
            text
        );
        assert!(text.len() < 6_000, "{} bytes", text.len());
        assert!(serde_json::Value::from(json).to_string().len() < 6_000);
    }
    let far = format!("{{ saga: s, starts_on: [], on_event: {{}}, z: [ \"{long}\" ], nonsense: 1 }}\n");
    let (json, text) = printed(&far);
    let column = far.find("nonsense").map(|at| far[..at].chars().count() + 1).expect("there");
    assert!(json.iter().any(|fault| fault["column"] == column), "{json:?}");
    assert!(text.contains(&format!("sagas/s.yaml:1:{column}")) && text.contains("nonsense: 1"), "{text}");
}

#[test]
fn many_long_lines_are_not_echoed_either() {
    let manifest = format!("saga: s\nstarts_on: []\non_event: [\n{}]\n", "  a,\n".repeat(10_000));
    let (_, text) = printed(&manifest);
    assert!(text.len() < 6_000 && text.contains("sagas/s.yaml:3:11"), "{} bytes: {:.2000}", text.len(), text);
}
