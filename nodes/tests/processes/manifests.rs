//! `validate`: what is wrong with an application, and where.

use crate::world::{Process, SHOP, SOON, cloudlysis, copy_folder};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// A copy of the shop with one file changed.
pub(crate) fn shop_with(file: &str, from: &str, to: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    copy_folder(Path::new(SHOP), dir.path());
    let path = dir.path().join(file);
    let text = std::fs::read_to_string(&path).expect("a manifest");
    assert!(text.contains(from), "{file} has no {from:?}");
    std::fs::write(&path, text.replacen(from, to, 1)).expect("written");
    dir
}

async fn validate(app: &TempDir, further: &[&str]) -> (Option<i32>, Process) {
    let path = app.path().to_str().expect("a path that is text");
    let arguments: Vec<String> =
        ["validate", path].iter().chain(further).map(|own| (*own).to_owned()).collect();
    let mut process = cloudlysis("validate", &arguments, app.path());
    (process.exit(SOON).await.code(), process)
}

#[tokio::test]
async fn a_sound_application_is_valid() {
    let app = shop_with("app.yaml", "app: shop", "app: shop");
    let (code, process) = validate(&app, &[]).await;
    assert_eq!((code, process.log().as_str()), (Some(0), ""));
    assert!(process.out().starts_with("ok: shop (2 aggregates"), "{}", process.out());
}

#[tokio::test]
async fn every_fault_names_its_file_its_line_and_its_field() {
    for (file, line, from, to, message, field) in [
        // An unknown field.
        (
            "effects/charge_card.yaml",
            10,
            "timeout_ms: 2000",
            "timeout: 2000",
            "unknown field `timeout`",
            "timeout_ms",
        ),
        // Steps that use each other.
        (
            "aggregates/stock.yaml",
            24,
            "      mine: state.reserved",
            "      mine: theirs\n      theirs: mine\n      others: state.reserved",
            "cycle: mine → theirs → mine",
            "mine: theirs",
        ),
        // An expression that does not compile.
        (
            "aggregates/order.yaml",
            7,
            "state.status != 'none'",
            "state.status !=",
            "does not parse",
            "when: state.status",
        ),
        // A reference that leads nowhere.
        (
            "sagas/checkout.yaml",
            18,
            "aggregate: stock",
            "aggregate: stok",
            "unknown aggregate `stok`",
            "stock",
        ),
    ] {
        let app = shop_with(file, from, to);
        let (code, process) = validate(&app, &[]).await;
        let log = process.log();
        assert_eq!(code, Some(1), "{log}");
        for part in [message, field, &format!("{file}:{line}:")] {
            assert!(log.contains(part), "{part:?} is not in:\n{log}");
        }

        let (code, process) = validate(&app, &["--json"]).await;
        assert_eq!(code, Some(1));
        let report: Value = serde_json::from_str(&process.out()).expect("JSON");
        assert_eq!(report["ok"], false);
        let faults = report["faults"].as_array().expect("a list");
        let named = faults.iter().any(|fault| {
            let says = fault["message"].as_str().is_some_and(|text| text.contains(message));
            says && fault["file"] == file && fault["line"] == line
        });
        assert!(named, "{file}:{line} is not in {report}");
    }
}

#[tokio::test]
async fn a_node_does_not_start_with_faults() {
    let app = shop_with("effects/charge_card.yaml", "timeout_ms", "timeout");
    let path = app.path().to_str().expect("a path that is text");
    let arguments = ["dev", path, "--data", path, "--listen", "127.0.0.1:0"].map(str::to_owned);
    let mut process = cloudlysis("dev", &arguments, app.path());
    assert_eq!(process.exit(SOON).await.code(), Some(1));
    assert!(process.log().contains("unknown field `timeout`"), "{}", process.log());
}
