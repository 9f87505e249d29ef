//! The part of a file around a fault that is shown: a few lines, none of them long, whatever the file is like.

use cloudlysis_core::manifest::yaml::Span;
use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Longest line that is shown whole, in characters.
const LINE_CHARS_MAX: usize = 120;
/// How much of a longer one is shown before a place, and after it.
const AROUND_CHARS: usize = LINE_CHARS_MAX / 2;
/// Most lines that a fault itself takes.
const LINES_MAX: usize = 8;
/// Stands for what is left out.
const LEFT_OUT: &str = "…";

/// What is shown of a file.
#[derive(Debug)]
pub(super) struct Excerpt {
    file: String,
    text: String,
    /// How many lines of the file are before it.
    lines_before: usize,
    lines: usize,
    /// Where the fault is in the excerpt.
    pub(super) span: SourceSpan,
    /// Where it begins in the file, counted from 0: line and column.
    at: (usize, usize),
}

impl Excerpt {
    pub(super) fn around(file: &str, source: &str, span: Span) -> Self {
        let start = source.floor_char_boundary(span.start);
        let end = source.floor_char_boundary(span.end).max(start);
        let head = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = source[..start].bytes().filter(|byte| *byte == b'\n').count();
        let mut excerpt = Self {
            file: file.to_owned(),
            text: String::new(),
            lines_before: line,
            lines: 0,
            span: (0, 0).into(),
            at: (line, source[head..start].chars().count()),
        };
        if let Some(before) = head.checked_sub(1) {
            let from = source[..before].rfind('\n').map_or(0, |at| at + 1);
            excerpt.lines_before -= 1;
            excerpt.push(&source[from..before], 0);
        }
        let mut from = head;
        let (mut begins, mut ends) = (0, 0);
        for nth in 0..=LINES_MAX {
            let Some(rest) = source.get(from..).filter(|rest| nth == 0 || !rest.is_empty()) else { break };
            let text = rest.split('\n').next().unwrap_or_default();
            let in_line = |at: usize| at.saturating_sub(from).min(text.len());
            let shown_at = excerpt.text.len();
            let window = excerpt.push(text, in_line(start));
            if nth == 0 {
                begins = shown_at + window.place(in_line(start));
            }
            // The line after the last one of the fault is there for orientation.
            if nth == 0 || from < end {
                ends = shown_at + window.place(in_line(end));
            } else {
                break;
            }
            from += text.len() + 1;
        }
        excerpt.span = (begins, ends.max(begins) - begins).into();
        excerpt
    }

    /// Line and column in the file, counted from 1.
    pub(super) const fn position(&self) -> (usize, usize) {
        (self.at.0 + 1, self.at.1 + 1)
    }

    /// Takes in a line, or what is around a place in it.
    fn push(&mut self, line: &str, at: usize) -> Window {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let window = Window::of(line, at.min(line.len()));
        if window.is_cut_before {
            self.text.push_str(LEFT_OUT);
        }
        self.text.push_str(&line[window.from..window.to]);
        if window.to < line.len() {
            self.text.push_str(LEFT_OUT);
        }
        self.text.push('\n');
        self.lines += 1;
        window
    }
}

/// What is shown of a line, in bytes.
struct Window {
    from: usize,
    to: usize,
    is_cut_before: bool,
}

impl Window {
    fn of(line: &str, at: usize) -> Self {
        if line.chars().nth(LINE_CHARS_MAX).is_none() {
            return Self { from: 0, to: line.len(), is_cut_before: false };
        }
        let from = line[..at].char_indices().rev().nth(AROUND_CHARS - 1).map_or(0, |(from, _)| from);
        let to = line[at..].char_indices().nth(AROUND_CHARS).map_or(line.len(), |(to, _)| at + to);
        Self { from, to, is_cut_before: from > 0 }
    }

    /// Where a place of the line is in what is shown of it.
    fn place(&self, at: usize) -> usize {
        let lead = if self.is_cut_before { LEFT_OUT.len() } else { 0 };
        at.clamp(self.from, self.to) - self.from + lead
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let name = self.file.clone();
        // Asked for without context, it is the place in the file that is wanted.
        if lines_before == 0 {
            let data = self.text.as_bytes();
            let data = data.get(span.offset()..span.offset() + span.len()).ok_or(MietteError::OutOfBounds)?;
            let (line, column) = self.at;
            return Ok(Box::new(MietteSpanContents::new_named(name, data, *span, line, column, 1)));
        }
        let whole = (0, self.text.len()).into();
        let (data, before) = (self.text.as_bytes(), self.lines_before);
        Ok(Box::new(MietteSpanContents::new_named(name, data, whole, before, 0, self.lines)))
    }
}
