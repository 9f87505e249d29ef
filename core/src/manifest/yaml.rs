//! YAML as a tree in which every node knows where it stands.
//!
//! Manifest errors must point into the author's file, so the tree keeps byte spans. Accepted is the part of YAML that
//! reads the same to everybody: one document, no anchors, aliases, tags or merge keys, no duplicate keys.

use super::diagnostic::Diagnostic;
use granit_parser::{Event, Parser, ScalarStyle, Span as Mark};
use serde_json::{Map, Value};

/// Largest manifest, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting.
const DEPTH_MAX: usize = 48;

/// A range of bytes in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A node and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// Bytes from the start of the span to the start of its text: one for a quoted scalar.
    pub text_offset: usize,
    /// What.
    pub value: Yaml,
}

/// A key and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    /// Where.
    pub span: Span,
    /// The key.
    pub text: String,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Yaml {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text, quoted or not.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written.
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// What it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.value {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "a boolean",
            Yaml::Int(_) | Yaml::Float(_) => "a number",
            Yaml::Text(_) => "text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "an object",
        }
    }

    /// The same without positions, objects sorted.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.value {
            Yaml::Null => Value::Null,
            Yaml::Bool(value) => Value::Bool(*value),
            Yaml::Int(value) => Value::from(*value),
            Yaml::Float(value) => Value::from(*value),
            Yaml::Text(text) => Value::String(text.clone()),
            Yaml::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Yaml::Map(entries) => Value::Object(
                entries.iter().map(|(key, value)| (key.text.clone(), value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// What [`to_json`](Self::to_json) made of a node, without positions.
    #[must_use]
    pub fn of_json(json: &Value) -> Self {
        let value = match json {
            Value::Null => Yaml::Null,
            Value::Bool(value) => Yaml::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(value) => Yaml::Int(value),
                None => Yaml::Float(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => Yaml::Text(text.clone()),
            Value::Array(items) => Yaml::List(items.iter().map(Self::of_json).collect()),
            Value::Object(fields) => {
                let key = |text: &String| Key { span: Span::default(), text: text.clone() };
                Yaml::Map(fields.iter().map(|(name, value)| (key(name), Self::of_json(value))).collect())
            }
        };
        Self { span: Span::default(), text_offset: 0, value }
    }
}

/// Where a manifest begins: the whole of it says nothing about where a fault is.
pub(super) fn first_of(node: &Node) -> Span {
    let start = node.span.start;
    Span { start, end: node.span.end.min(start + 1).max(start) }
}

/// Parses one document.
///
/// # Errors
/// The first thing that is not YAML, or not the part of it we accept.
pub fn parse(file: &str, source: &str) -> Result<Node, Box<Diagnostic>> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!("the file is {} bytes long; at most {SOURCE_BYTES_MAX} are read", source.len());
        return Err(Box::new(Diagnostic::new(file, Span::default(), message)));
    }
    let mut tree = Tree { file, source, parser: Parser::new_from_str(source) };
    loop {
        match tree.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => {
                let message = "the file holds no document".to_owned();
                return Err(Box::new(Diagnostic::new(
                    file,
                    Span { start: 0, end: source.len().min(1) },
                    message,
                )));
            }
            (event, mark) => {
                let root = tree.node(event, mark, 0)?;
                tree.expect_end()?;
                return Ok(root);
            }
        }
    }
}

struct Tree<'s> {
    file: &'s str,
    source: &'s str,
    parser: Parser<'s, granit_parser::StrInput<'s>>,
}

type Fault = Box<Diagnostic>;

impl<'s> Tree<'s> {
    fn next(&mut self) -> Result<(Event<'s>, Mark), Fault> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0).min(self.source.len());
                let end = (at + 1).min(self.source.len());
                let message = format!("not valid YAML: {}", error.info());
                Err(Box::new(Diagnostic::new(self.file, Span { start: at.min(end), end }, message)))
            }
            None => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    fn span(&self, mark: Mark) -> Span {
        let start = mark.start.byte_offset().unwrap_or(0).min(self.source.len());
        let end = mark.end.byte_offset().unwrap_or(start).clamp(start, self.source.len());
        Span { start, end }
    }

    fn refuse<T>(&self, span: Span, message: &str) -> Result<T, Fault> {
        Err(Box::new(Diagnostic::new(self.file, span, message.to_owned())))
    }

    fn expect_end(&mut self) -> Result<(), Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), mark) => {
                    let span = self.span(mark);
                    return self
                        .refuse(span, "a manifest is one document: put the second one into its own file");
                }
                (_, mark) => {
                    let span = self.span(mark);
                    return self.refuse(span, "unexpected content after the document");
                }
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's enum may grow; whatever comes is not a value"
    )]
    fn node(&mut self, event: Event<'s>, mark: Mark, depth: usize) -> Result<Node, Fault> {
        let span = self.span(mark);
        if depth > DEPTH_MAX {
            return self.refuse(span, "nested too deep");
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return self.refuse(span, "anchors and tags are not supported in manifests");
                }
                let plain = matches!(style, ScalarStyle::Plain);
                let value = if plain { resolve(&text) } else { Yaml::Text(text.into_owned()) };
                Ok(Node { span, text_offset: usize::from(!plain), value })
            }
            Event::SequenceStart(_, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return self.refuse(span, "anchors and tags are not supported in manifests");
                }
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => {
                            let end = self.span(end).end.max(span.start);
                            let span = Span { start: span.start, end };
                            return Ok(Node { span, text_offset: 0, value: Yaml::List(items) });
                        }
                        (event, mark) => items.push(self.node(event, mark, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return self.refuse(span, "anchors and tags are not supported in manifests");
                }
                self.mapping(span, depth)
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse(span, "aliases are not supported in manifests")
            }
            _ => self.refuse(span, "not a value"),
        }
    }

    fn mapping(&mut self, span: Span, depth: usize) -> Result<Node, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, mark) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                let end = self.span(mark).end.max(span.start);
                let span = Span { start: span.start, end };
                return Ok(Node { span, text_offset: 0, value: Yaml::Map(entries) });
            }
            let key_span = self.span(mark);
            let Event::Scalar(text, ..) = event else {
                return self.refuse(key_span, "a key must be text");
            };
            let key = Key { span: key_span, text: text.into_owned() };
            if key.text == "<<" {
                return self.refuse(key_span, "merge keys are not supported in manifests");
            }
            if entries.iter().any(|(other, _)| other.text == key.text) {
                return self.refuse(key_span, &format!("`{}` is written twice", key.text));
            }
            let (event, mark) = self.next()?;
            let value = self.node(event, mark, depth + 1)?;
            entries.push((key, value));
        }
    }
}

/// The YAML 1.2 core schema for plain scalars.
fn resolve(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        _ => {}
    }
    let number_like = text.bytes().next().is_some_and(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    if number_like {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        if let Ok(int) = unsigned.parse::<i64>() {
            return Yaml::Int(int);
        }
        if let Some(int) = text.strip_prefix("0x").and_then(|hex| i64::from_str_radix(hex, 16).ok()) {
            return Yaml::Int(int);
        }
        let decimal = unsigned.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        if decimal && let Ok(float) = unsigned.parse::<f64>() {
            return Yaml::Float(float);
        }
    }
    Yaml::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_and_positions() {
        let source = "a: 1\nb: [x, 'é', 2.5, true, ~]\nc:\n  d: = x + 1\n";
        let root = parse("f.yaml", source).expect("parses");
        assert_eq!(
            root.to_json(),
            json!({ "a": 1, "b": ["x", "é", 2.5, true, null], "c": { "d": "= x + 1" } })
        );
        let Yaml::Map(entries) = &root.value else { panic!("a map") };
        assert_eq!(&source[entries[0].0.span.start..entries[0].0.span.end], "a");
        let Yaml::Map(inner) = &entries[2].1.value else { panic!("a map") };
        assert_eq!(&source[inner[0].1.span.start..inner[0].1.span.end], "= x + 1");
    }

    #[test]
    fn what_reads_differently_to_different_people_is_refused() {
        for (source, message) in [
            ("a: 1\na: 2\n", "`a` is written twice"),
            ("a: &x 1\nb: *x\n", "anchors and tags are not supported in manifests"),
            ("a: !!str 1\n", "anchors and tags are not supported in manifests"),
            ("a: 1\n---\nb: 2\n", "a manifest is one document: put the second one into its own file"),
            ("", "the file holds no document"),
            ("? [a]\n: b\n", "a key must be text"),
        ] {
            assert_eq!(parse("f", source).expect_err(source).message, message, "{source:?}");
        }
        assert!(parse("f", "a: [1, 2\n").expect_err("open").message.starts_with("not valid YAML"));
        let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
        assert_eq!(parse("f", &deep).expect_err("deep").message, "nested too deep");
    }
}
