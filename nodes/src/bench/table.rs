//! Figures side by side.

use serde::Serialize;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Of our broker: the median of all rounds.
    pub ours: f64,
    /// Of the real server, if one was measured.
    pub nats_server: Option<f64>,
    /// How often ours is as good; above 1 it is better, for memory too.
    pub ratio: Option<f64>,
}

impl Row {
    pub(super) fn new(name: impl Into<String>, unit: &'static str, ours: f64, theirs: Option<f64>) -> Self {
        let less_is_better = unit == "MiB";
        let ratio = theirs.map(|theirs| if less_is_better { theirs / ours } else { ours / theirs });
        Self { name: name.into(), unit, ours, nats_server: theirs, ratio }
    }
}

/// The middle one.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// As people read it.
pub(super) fn text(rows: &[Row]) -> String {
    let mut lines = vec![format!("{:<44} {:>12} {:>12} {:>7}", "", "cloudlysis", "nats-server", "ratio")];
    for row in rows {
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |own| format!("{own:.0}"));
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let name = format!("{} ({})", row.name, row.unit);
        lines.push(format!(
            "{name:<44} {:>12} {:>12} {ratio:>7}",
            number(Some(row.ours)),
            number(row.nats_server)
        ));
    }
    lines.join("\n")
}
