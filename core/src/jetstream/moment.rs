//! Moments in configurations: RFC 3339 as the server reads and prints them.

use crate::time::Wall;

/// A moment; `None` when it is none.
pub(super) fn parse(text: &str) -> Option<Wall> {
    // The server wants a capital T and a zone.
    let (date, time) = text.split_once('T')?;
    if date.len() != 10 || !time.ends_with(|c: char| c == 'Z' || c.is_ascii_digit()) {
        return None;
    }
    let stamp: jiff::Timestamp = text.parse().ok()?;
    // Nothing is stored before 1970; a fraction of a millisecond is after it.
    let ms = stamp.as_nanosecond().max(0).unsigned_abs().div_ceil(1_000_000);
    u64::try_from(ms).ok().map(Wall::from_ms)
}

/// As the server prints it: without zeros at the end of the fraction, in the zone it was given in.
pub(super) fn normalise(text: &str) -> String {
    let text = ["+00:00", "-00:00"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .map_or_else(|| text.to_owned(), |local| format!("{local}Z"));
    let Some((whole, rest)) = text.split_once('.') else { return text };
    let zone = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone);
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}{zone}"),
        fraction => format!("{whole}.{fraction}{zone}"),
    }
}

/// In UTC, whatever zone it was given in.
pub(super) fn normalise_utc(text: &str) -> String {
    let stamp = text.parse::<jiff::Timestamp>();
    normalise(&stamp.map_or_else(|_| text.to_owned(), |stamp| format!("{stamp:.9}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_the_server_has_them() {
        for (text, printed, ms) in [
            ("2026-11-21T11:36:35Z", "2026-11-21T11:36:35Z", 1_795_260_995_000),
            ("2026-11-21T11:36:35.500Z", "2026-11-21T11:36:35.5Z", 1_795_260_995_500),
            ("2026-11-21T11:36:35.000+00:00", "2026-11-21T11:36:35Z", 1_795_260_995_000),
            ("2026-11-21T12:36:35+01:00", "2026-11-21T12:36:35+01:00", 1_795_260_995_000),
            ("2026-11-21T11:36:35.0000001Z", "2026-11-21T11:36:35.0000001Z", 1_795_260_995_001),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(
                (normalise(text), parse(text)),
                (printed.to_owned(), Some(Wall::from_ms(ms))),
                "{text}"
            );
        }
        assert_eq!(normalise_utc("2026-11-21T12:36:35+01:00"), "2026-11-21T11:36:35Z");
        for bad in ["", "now", "2026-11-21", "2026-11-21 11:36:35Z", "2026-11-21T11:36:35"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
