//! What somebody has to look at, as lines of the log.
//!
//! A machine says of a quarantined message where the stream has it and why; of an effect that is parked, and of an entry of
//! the outbox that was given up on, only that there is one. Whose they are is in their rows.

use cloudlysis_core::gate::Effect;
use cloudlysis_core::jetstream::AckSubject;
use cloudlysis_core::{Mark, MarkCounts};

/// Branches after which somebody has to decide, and where they find what it is about.
const FOR_A_PERSON: [(Mark, &str); 2] =
    [(Mark::EffectParked, "effect ls --stage parked"), (Mark::OutboxGaveUp, "dlq ls")];

/// Says so when a message begins to hold its key back. Those behind it are not said one by one.
pub(crate) fn quarantined(node: &'static str, effect: &Effect) {
    let (ack, reason) = match effect {
        Effect::Term { ack, reason } => (ack, reason),
        Effect::Ack { .. } | Effect::Position { .. } | Effect::Inspect { .. } | Effect::Fetch { .. } => {
            return;
        }
    };
    let at = AckSubject::parse(ack);
    let stream = at.as_ref().map(|at| &*at.stream);
    let consumer = at.as_ref().map(|at| &*at.consumer);
    let stream_seq = at.as_ref().map(|at| at.stream_seq);
    tracing::warn!(node, stream, stream_seq, consumer, reason, "a message is a dead letter: see `dlq ls`");
}

/// Says so when a machine took such a branch after these marks were told.
pub(crate) fn for_a_person(node: &'static str, told: &MarkCounts, marks: &MarkCounts) {
    for (mark, see) in FOR_A_PERSON {
        let times = marks.count(mark).saturating_sub(told.count(mark));
        if times > 0 {
            tracing::warn!(node, mark = mark.id(), times, "{}: see `{see}`", mark.sentence());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! What reads the log is shared with the tests of the partition, whose machine takes such a branch.

    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that this writes.
    pub(crate) fn lines(write: impl FnOnce()) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(lines, write);
        let bytes = log.0.lock().expect("nobody panicked").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_quarantined_message_is_one_line_with_its_place_and_reason() {
        let ack = "$JS.ACK.AGGREGATE_EVENTS.runner-0.1.42.7.1795231870594117302.0".to_owned();
        let term = Effect::Term { ack: ack.clone(), reason: "program: no such field".into() };
        let written = lines(|| {
            quarantined("runner", &Effect::Ack { ack });
            quarantined("runner", &term);
        });
        let [line] = &written[..] else { panic!("{written:?}") };
        for words in [
            "WARN",
            "node=\"runner\"",
            "stream=\"AGGREGATE_EVENTS\"",
            "stream_seq=42",
            "reason=\"program: no such field\"",
        ] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }
}
