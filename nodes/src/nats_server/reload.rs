//! Which changes of a configuration take effect while the server runs.
//!
//! Who may come, what they may do, and the bounds of the client protocol; everything else needs another start, and a
//! reload that asks for it changes nothing.

use super::settings::Settings;

/// Says by name what cannot be changed.
pub(super) fn is_possible(old: &Settings, new: &Settings) -> Result<(), String> {
    let (own, other) = (&old.options, &new.options);
    let fields = [
        ("listen", own.listen == other.listen),
        ("server_name", own.server_name == other.server_name),
        ("server_tags", own.tags == other.tags),
        ("max_pending", own.pending_bytes_max == other.pending_bytes_max),
        ("write_deadline", own.write_deadline == other.write_deadline),
        ("jetstream", own.jetstream == other.jetstream),
        ("tls", own.tls == other.tls),
        ("websocket", own.websocket == other.websocket),
        ("http", own.monitor == other.monitor),
        ("lame_duck_duration", own.lame_duck == other.lame_duck),
        ("pid_file", old.pid_file == new.pid_file),
        ("ports_file_dir", old.ports_file_dir == new.ports_file_dir),
        ("log_file", old.log.file == new.log.file),
        ("logtime", old.log.time == new.log.time),
        ("debug", (old.log.debug, old.log.trace) == (new.log.debug, new.log.trace)),
    ];
    let changed: Vec<&str> = fields.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    if changed.is_empty() {
        Ok(())
    } else {
        Err(format!("config reload not supported for {}", changed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::nats::Auth;

    #[test]
    fn what_takes_effect_and_what_does_not() {
        let old = Settings::default();
        let mut new = old.clone();
        new.options.auth = Auth::token("t");
        new.options.limits.payload_bytes_max = 1;
        assert_eq!(is_possible(&old, &new), Ok(()));
        new.options.listen.port += 1;
        new.log.debug = true;
        let expected = "config reload not supported for listen, debug";
        assert_eq!(is_possible(&old, &new), Err(expected.to_owned()));
    }
}
