//! Scenarios as text: each holds, and shows the planted fault that it names.

use sim_tests::plan::Scenario;
use sim_tests::script::Script;
use sim_tests::shrink::shrink;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of the scripts") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_script_holds_and_shows_what_it_says() {
    let all = scripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"));
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|file| {
            let text = fs::read_to_string(file).expect("a script");
            let script = Script::parse(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", file.display()));
            assert!(!script.remarks.is_empty(), "{}: says why it is here", file.display());
            script.check().err().map(|detail| format!("{}: {detail}", file.display()))
        })
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    assert!(all.len() > 6);
}

#[test]
fn what_is_written_is_read_again() {
    let text = "# why\nscenario operators\nseed 5\norders 3\nstrikes 4 17\nat 900ms runner dies C3-landed\n\
                at 2000ms effects drains 3000ms\nat 3000ms aggregate1 clock -600000ms\nat 1ms broker dies\n\
                at 5ms projection loses-connection\nat 6ms stranger dies\nshows DrainSendsOn by INV-DRN-5\n";
    let script = Script::parse(text).expect("a script");
    assert_eq!(script.to_string(), text);
    for strikes in ["all", "none"] {
        let text = format!("scenario calm\nseed 1\nstrikes {strikes}\n");
        assert_eq!(Script::parse(&text).expect("a script").to_string(), text);
    }
}

#[test]
fn what_is_misspelt_is_told_with_its_line() {
    for (line, detail) in [
        ("scenario wild", "there are: everything, calm"),
        ("seed x", "`x` is no seed"),
        ("orders 0", "`orders` is a number from 1 to 64"),
        ("widgets 3", "`widgets` is nothing that can be set"),
        ("strikes four", "`four` is no number"),
        ("at 3 runner dies", "`3` is not a time"),
        ("at -3s runner dies", "`-3s` is in the past"),
        ("at 3s gateway dies", "there is no `gateway`"),
        ("at 3s runner dies C7", "`C7` is none of C1"),
        ("at 3s runner naps", "`runner naps` is no step"),
        ("shows Nothing by INV-DRN-5", "there is no planted fault `Nothing`"),
        ("shows DrainSendsOn by INV-NONE", "there is no invariant `INV-NONE`"),
        ("holds", "`holds` says nothing"),
    ] {
        let wrong = Script::parse(&format!("seed 1\n\n{line}\n")).expect_err(line);
        assert_eq!(wrong.line, 3, "{line}");
        assert!(wrong.detail.starts_with(detail), "{line}: {}", wrong.detail);
    }
}

#[test]
fn what_a_script_does_not_show_is_told() {
    let world = "scenario calm\nseed 1\nstranger 0\ndeploys 0\nhalves 0\ntenants 2\norders 1\n";
    let says = |shows: &str| Script::parse(&format!("{world}{shows}\n")).expect("a script").check();
    assert_eq!(says("shows SagaUnpinsTooSoon by INV-SAGA-8"), Ok(()));
    let other = says("shows SagaUnpinsTooSoon by INV-DRN-5").expect_err("it breaks another invariant");
    assert!(other.starts_with("shows SagaUnpinsTooSoon by something else: INV-SAGA-8"), "{other}");
    let nothing = says("shows GateIgnoreStop by INV-DRN-1").expect_err("nobody stops anything");
    assert_eq!(nothing, "does not show GateIgnoreStop: everything holds");
}

/// The world of a seed is drawn by the same dice, whoever writes it down.
#[test]
fn a_planted_fault_is_shown_by_less_than_its_seed() {
    let quirk = cloudlysis_core::quirks::Quirk::OutboxDeleteOnUnknown;
    let found = (1..40).find_map(|seed| {
        let script = Script::of_seed(Scenario::Crashes, seed);
        shrink(script, Some(quirk), Duration::from_secs(20))
    });
    let shrunk = found.expect("a seed that shows it");
    assert!(shrunk.faults.1 < shrunk.faults.0, "{shrunk:?}");
    assert_eq!(shrunk.script.check(), Ok(()));
    assert_eq!(Script::parse(&shrunk.script.to_string()), Ok(shrunk.script));
}
