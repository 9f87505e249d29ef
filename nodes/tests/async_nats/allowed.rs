//! What may fail, and why.

use crate::run::Verdict;
use std::collections::BTreeMap;

const LIST: &str = include_str!("allowed.txt");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// It asks for something this server is not: a cluster, the Internet.
    NotApplicable,
    /// A difference we know and have not mended.
    Known,
    /// It fails against the real server too, now and then.
    Flaky,
}

/// The list.
#[derive(Debug)]
pub(crate) struct Allowed {
    tests: BTreeMap<(String, String), Kind>,
}

impl Allowed {
    /// Reads `allowed.txt`.
    pub(crate) fn read() -> Self {
        let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { tests: lines.map(entry).collect() }
    }

    /// What is wrong with how a test went.
    pub(crate) fn objection(&self, verdict: &Verdict) -> Option<String> {
        let (kind, case) = (self.kind(verdict), &verdict.case);
        match (&verdict.failure, kind) {
            (None, Some(Kind::Known | Kind::NotApplicable)) => {
                Some(format!("{} {} passes: it is on the list no longer", case.file, case.name))
            }
            (Some(failure), None) => Some(format!("{} {}: {failure}", case.file, case.name)),
            (None, None | Some(Kind::Flaky)) | (Some(_), Some(_)) => None,
        }
    }

    /// Entries that name no test.
    pub(crate) fn unknown(&self, verdicts: &[Verdict]) -> Vec<String> {
        let is_there = |(file, name): &(String, String)| {
            verdicts.iter().any(|verdict| verdict.case.file == *file && verdict.case.name == *name)
        };
        let missing = self.tests.keys().filter(|key| !is_there(key));
        missing.map(|(file, name)| format!("{file} {name} is on the list and does not exist")).collect()
    }

    pub(crate) fn holds_not_applicable(&self, verdict: &Verdict) -> bool {
        self.kind(verdict) == Some(Kind::NotApplicable)
    }

    fn kind(&self, verdict: &Verdict) -> Option<Kind> {
        self.tests.get(&(verdict.case.file.clone(), verdict.case.name.clone())).copied()
    }
}

fn entry(line: &str) -> ((String, String), Kind) {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("`kind file test reason`: {line}"));
    let kind = match word() {
        "not-applicable" => Kind::NotApplicable,
        "known" => Kind::Known,
        "flaky" => Kind::Flaky,
        other => panic!("no such kind: {other}"),
    };
    let key = (word().to_owned(), word().to_owned());
    assert!(!word().trim().is_empty(), "a reason: {line}");
    (key, kind)
}
