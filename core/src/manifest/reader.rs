//! Reading typed things out of a YAML tree, collecting every fault instead of stopping at the first.

use super::diagnostic::Diagnostic;
use super::suggest::closest;
use super::yaml::{Key, Node, Span, Yaml};
use crate::program::{ExprError, Natives};
use crate::wire::id::Name;

/// Collects the faults of one file.
#[derive(Debug)]
pub struct Reader<'f> {
    file: &'f str,
    faults: &'f mut Vec<Diagnostic>,
    natives: Natives,
}

impl<'f> Reader<'f> {
    /// A reader for one file.
    pub fn new(file: &'f str, faults: &'f mut Vec<Diagnostic>) -> Self {
        Self { file, faults, natives: Natives::default() }
    }

    /// One that knows the programs of the binary.
    pub fn with_natives(self, natives: &Natives) -> Self {
        Self { natives: natives.clone(), ..self }
    }

    /// The programs of the binary.
    pub(super) const fn natives(&self) -> &Natives {
        &self.natives
    }

    /// Records a fault.
    pub fn fault(&mut self, span: Span, message: String, help: Option<String>) {
        self.faults.push(Diagnostic { file: self.file.to_owned(), span, message, help });
    }

    /// Records a fault inside an expression that starts `skipped` bytes into a node's text.
    pub fn expression_fault(&mut self, node: &Node, skipped: usize, error: &ExprError) {
        let base = node.span.start + node.text_offset + skipped;
        let start = (base + error.at).min(node.span.end);
        let end = (start + error.len).clamp(start, node.span.end.max(start));
        self.fault(Span { start, end }, error.message.clone(), error.help.clone());
    }

    /// Text.
    pub fn text(&mut self, node: &Node) -> Option<String> {
        if let Yaml::Text(text) = &node.value {
            return Some(text.clone());
        }
        self.fault(node.span, format!("expected text, found {}", node.kind()), None);
        None
    }

    /// A name.
    pub fn name(&mut self, node: &Node) -> Option<Name> {
        let text = self.text(node)?;
        match Name::parse(&text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.fault(node.span, error.to_string(), None);
                None
            }
        }
    }

    /// A name used as a key.
    pub fn key_name(&mut self, key: &Key) -> Option<Name> {
        match Name::parse(&key.text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.fault(key.span, error.to_string(), None);
                None
            }
        }
    }

    /// An integer within bounds.
    pub fn integer(&mut self, node: &Node, min: u64, max: u64) -> Option<u64> {
        if let Yaml::Int(int) = node.value
            && let Ok(int) = u64::try_from(int)
            && (min..=max).contains(&int)
        {
            return Some(int);
        }
        self.fault(node.span, format!("expected a whole number from {min} to {max}"), None);
        None
    }

    /// The entries of an object.
    pub fn entries<'n>(&mut self, node: &'n Node) -> &'n [(Key, Node)] {
        if let Yaml::Map(entries) = &node.value {
            return entries;
        }
        self.fault(node.span, format!("expected an object, found {}", node.kind()), None);
        &[]
    }

    /// The items of a list.
    pub fn items<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        if let Yaml::List(items) = &node.value {
            return items;
        }
        self.fault(node.span, format!("expected a list, found {}", node.kind()), None);
        &[]
    }
}

/// The fields of one object: every known one is taken, the rest are faults with a did-you-mean.
#[derive(Debug)]
pub struct Fields<'n> {
    what: &'static str,
    span: Span,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of an object; `what` names it in messages.
    pub fn of(node: &'n Node, what: &'static str, reader: &mut Reader<'_>) -> Self {
        Self { what, span: node.span, entries: reader.entries(node), known: Vec::new() }
    }

    /// A field that may be missing.
    pub fn optional(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
    }

    /// A field that must be there.
    pub fn required(&mut self, name: &'static str, reader: &mut Reader<'_>) -> Option<&'n Node> {
        let found = self.optional(name);
        if found.is_none() {
            let start = self.span.start;
            let span = Span { start, end: self.span.end.min(start + 1).max(start) };
            reader.fault(span, format!("`{name}` is missing from this {}", self.what), None);
        }
        found
    }

    /// Every field that was not asked for is a fault.
    pub fn finish(self, reader: &mut Reader<'_>) {
        for (key, _) in self.entries {
            if self.known.contains(&key.text.as_str()) {
                continue;
            }
            let help = match closest(&key.text, self.known.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            reader.fault(key.span, format!("unknown field `{}` in this {}", key.text, self.what), Some(help));
        }
    }
}
