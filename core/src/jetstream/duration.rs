//! Durations as the server reads and prints them: `1h0m0s`, `1.5s`, `300ms`.

use std::fmt::Write;

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Nanoseconds of a duration such as `1m30s` or `0.5s`; `None` when it is none, or negative.
pub(super) fn parse_ns(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total_ns) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total_ns += number.parse::<f64>().ok()? * unit_ns;
        rest = tail;
    }
    // Both bounds are exact as floating point numbers, and in between the cast only drops a fraction.
    (!text.is_empty() && total_ns < 9.2e18).then_some(total_ns as u64)
}

/// As the server prints it.
pub(super) fn format_ns(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    if ns == 0 {
        return "0s".into();
    }
    if ns < SECOND {
        let (unit_ns, unit) = match ns {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return decimal(ns, unit_ns) + unit;
    }
    let (hours, minutes, rest_ns) = (ns / (3600 * SECOND), ns / (60 * SECOND) % 60, ns % (60 * SECOND));
    let mut out = String::new();
    if hours > 0 {
        write!(out, "{hours}h").expect("writing to a string");
    }
    if hours > 0 || minutes > 0 {
        write!(out, "{minutes}m").expect("writing to a string");
    }
    out + &decimal(rest_ns, SECOND) + "s"
}

fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{fraction:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_as_the_server_does() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_661_000_000_001, "1h1m1.000000001s"),
        ] {
            assert_eq!(format_ns(ns), text);
            assert_eq!(parse_ns(text), Some(ns), "{text}");
        }
        for bad in ["", "x", "5", "1x", "-1s", "1..5s", "99999999h"] {
            assert_eq!(parse_ns(bad), None, "{bad}");
        }
    }
}
