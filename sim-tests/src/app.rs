//! The example application, as every simulated world runs it: the shop, on terms that show within a run, and beside it an
//! alarm clock, a bank, and rounds that are due again and again.

use cloudlysis_core::manifest::{App, SourceFile};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// What a deployment changes.
const CHECKOUT: &str = "sagas/checkout.yaml";

/// What is ours: beside the shop's manifests, or in the place of one.
const OWN: [&str; 12] = [
    "aggregates/account.yaml",
    "aggregates/transfer.yaml",
    "sagas/transfer.yaml",
    "sagas/alarm.yaml",
    "sagas/round.yaml",
    "schedules/rounds.yaml",
    "schedules/queued_rounds.yaml",
    "schedules/counts.yaml",
    "effects/count.yaml",
    "effects/send_receipt.yaml",
    "effects/charge_card.yaml",
    "effects/ship_parcel.yaml",
];

static SHOP: LazyLock<Arc<App>> = LazyLock::new(|| Arc::new(load(&shop_folder(), &OWN, 1)));
static NEXT_EDITION: LazyLock<Arc<App>> = LazyLock::new(|| Arc::new(load(&shop_folder(), &OWN, 2)));

/// Where the shop's manifests are.
#[must_use]
pub fn shop_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop")
}

/// The shop, loaded once.
#[must_use]
pub fn shop() -> Arc<App> {
    Arc::clone(&SHOP)
}

/// The shop after a deployment: its checkout notes another edition in its state.
#[must_use]
pub fn next_edition() -> Arc<App> {
    Arc::clone(&NEXT_EDITION)
}

/// Loads an application, with more manifests of our own, which go before its.
///
/// # Panics
/// When it cannot be read or has faults: the example must load.
fn load(folder: &Path, more: &[&str], edition: u8) -> App {
    let mut files = vec![read(&folder.join("app.yaml"), "app.yaml".into())];
    for kind in ["aggregates", "projections", "sagas", "effects"] {
        let entries = fs::read_dir(folder.join(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{kind}: {error}")).path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(read(&path, format!("{kind}/{name}")));
        }
    }
    let own = |name: &&str| read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name), (*name).to_owned());
    files.retain(|file| !more.contains(&file.path.as_str()));
    files.extend(more.iter().map(own));
    for file in files.iter_mut().filter(|file| file.path == CHECKOUT) {
        file.text = with_edition(&file.text, edition);
    }
    App::load(&files, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The checkout, noting its edition when it begins and when the card is charged.
fn with_edition(manifest: &str, edition: u8) -> String {
    let begins = "      order: = event.aggregate_id\n";
    let charged = "    set: { charge: = event.payload.id }\n";
    assert!(manifest.contains(begins) && manifest.contains(charged), "the checkout has changed");
    let noted = manifest.replacen(begins, &format!("{begins}      edition: {edition}\n"), 1);
    noted.replacen(charged, &format!("    set: {{ charge: = event.payload.id, edition: {edition} }}\n"), 1)
}

fn read(path: &Path, name: String) -> SourceFile {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    SourceFile { path: name, text }
}
