//! The tests of async-nats itself, as its package has them, against our `nats-server`.
//!
//! ```text
//!  published package ─► unpack ─► compile ─► each test, in a process of its own ─► scoreboard
//!                                                  └ starts `cloudlysis-nats-server` ─┘
//! ```
//!
//! What may fail stands in `allowed.txt`, with the reason; what stands there and passes fails this test, so that the list
//! only shrinks. `ASYNC_NATS_TESTS=kv` runs those whose name holds `kv` and shows each failure in full;
//! `ASYNC_NATS_SERVER=PATH` puts another server in the place of ours.

mod allowed;
mod package;
mod run;

use allowed::Allowed;
use run::Verdict;
use std::collections::BTreeMap;
use std::env;

#[test]
fn the_tests_of_async_nats_pass() {
    let only = env::var("ASYNC_NATS_TESTS").unwrap_or_default();
    let server = env::var("ASYNC_NATS_SERVER")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_cloudlysis-nats-server").to_owned());
    let allowed = Allowed::read();
    let executables = package::build();
    let cases = executables.iter().flat_map(run::cases);
    let cases: Vec<_> =
        cases.filter(|case| format!("{}::{}", case.file, case.name).contains(&only)).collect();
    assert!(!cases.is_empty(), "no test has {only:?} in its name");
    let verdicts = run::run(cases, &server, |verdict| {
        if let Some(failure) = &verdict.failure {
            note(&format!("    {} {}: {failure}", verdict.case.file, verdict.case.name));
        }
    });
    note(&scoreboard(&verdicts, &allowed));
    let mut wrong: Vec<String> = verdicts.iter().filter_map(|verdict| allowed.objection(verdict)).collect();
    if only.is_empty() {
        wrong.extend(allowed.unknown(&verdicts));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Passed of those that apply, by file.
fn scoreboard(verdicts: &[Verdict], allowed: &Allowed) -> String {
    let mut files: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for verdict in verdicts {
        let (passed, applicable, all) = files.entry(&verdict.case.file).or_default();
        *passed += usize::from(verdict.failure.is_none());
        *applicable += usize::from(!allowed.holds_not_applicable(verdict));
        *all += 1;
    }
    let mut lines = vec![format!("{:<36} passed / applicable (of)", "tests of async-nats")];
    lines.extend(
        files.iter().map(|(file, (passed, applicable, all))| {
            format!("{file:<36} {passed:>6} / {applicable} ({all})")
        }),
    );
    lines.join("\n")
}

#[expect(clippy::print_stderr, reason = "the test harness decides whether it is shown")]
fn note(line: &str) {
    eprintln!("{line}");
}
