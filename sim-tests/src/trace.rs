//! What happened, in what order, and because of what.
//!
//! Every event has a number and remembers the number of the event that scheduled it, so a violation comes with the chain
//! of causes that led to it. A run keeps nothing (fast), a running hash (for comparing two runs), or everything.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Names an event of a run.
pub type EventId = u64;

/// Characters of one line that are kept for people; the hash is of all of them.
const LINE_CHARS_MAX: usize = 240;

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// A hash of everything.
    Hash,
    /// Every line.
    Lines,
}

#[derive(Clone, Debug)]
struct Line {
    cause: EventId,
    text: String,
}

/// The trace of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    keep: Keep,
    hash: u64,
    lines: BTreeMap<EventId, Line>,
}

/// The beginning of a text that people must read.
fn cut(text: &str) -> String {
    let mut out: String = text.chars().take(LINE_CHARS_MAX).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub const fn new(keep: Keep) -> Self {
        Self { keep, hash: 0xcbf2_9ce4_8422_2325, lines: BTreeMap::new() }
    }

    /// Whether anything is kept; texts need not be made otherwise.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.keep != Keep::Nothing
    }

    /// An event begins.
    pub fn event(&mut self, id: EventId, cause: EventId, at_ns: u64, text: impl FnOnce() -> String) {
        if self.keep == Keep::Nothing {
            return;
        }
        let text = text();
        self.mix(&format!("{id}<{cause}@{at_ns} {text}"));
        if self.keep == Keep::Lines {
            let stamp = format!("{:>4}.{:06}", at_ns / 1_000_000_000, at_ns / 1_000 % 1_000_000);
            self.lines.insert(id, Line { cause, text: format!("t={stamp} #{id:<6} {}", cut(&text)) });
        }
    }

    /// Something that came of the present event.
    pub fn add(&mut self, id: EventId, text: impl FnOnce() -> String) {
        if self.keep == Keep::Nothing {
            return;
        }
        let text = text();
        self.mix(&text);
        if let Some(line) = self.lines.get_mut(&id) {
            write!(line.text, "\n{:>22}{}", "", cut(&text)).expect("writing to a string");
        }
    }

    fn mix(&mut self, text: &str) {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash of everything so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The events that led to one, first cause first, at most `max` of the latest.
    #[must_use]
    pub fn chain(&self, id: EventId, max: usize) -> Vec<String> {
        let mut out = Vec::new();
        let mut next = id;
        while let Some(line) = self.lines.get(&next) {
            out.push(line.text.clone());
            if line.cause == next || out.len() >= max {
                break;
            }
            next = line.cause;
        }
        out.reverse();
        out
    }

    /// The last events, in order.
    #[must_use]
    pub fn tail(&self, max: usize) -> Vec<String> {
        let skip = self.lines.len().saturating_sub(max);
        self.lines.values().skip(skip).map(|line| line.text.clone()).collect()
    }
}
