//! `${var:NAME}` in the text of a manifest, replaced before anything is read.
//!
//! ```yaml
//! vars: { services: "http://127.0.0.1:7070" }   # in app.yaml; whoever starts a node may say otherwise
//! url: "${var:services}/payments/charges"
//! ```
//!
//! Whatever else begins with `${` is a fault, [secrets](super::secret) aside: nothing would replace it, and it would
//! reach those who are called. What the whole of an application uses is kept, so that a slip in an override is found.

use super::reader::Reader;
use super::suggest::closest;
use super::yaml::{Node, Span, Yaml};
use std::collections::{BTreeMap, BTreeSet};

const OPEN: &str = "${";
const KINDS: &str = "there are `${var:NAME}` and, in headers of effects, `${secret:NAME}`; \
                     an expression can have `'$' + '{'` in it";

/// Values for variables, instead of those of `app.yaml`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// Meant for this application: it is a fault if nothing in it uses one.
    pub said: BTreeMap<String, String>,
    /// Lying about, for others as well; what is said goes first.
    pub around: BTreeMap<String, String>,
}

/// The variables of an application while its files are read.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// `None` if nobody knows which there are: that `app.yaml` could not be read is told already.
    values: Option<BTreeMap<String, String>>,
    used: BTreeSet<String>,
    /// Some file could not be read, so nobody knows what it uses.
    is_partial: bool,
}

impl Variables {
    /// Those of `app.yaml`, and the overrides.
    pub(super) fn read(main: &Node, overrides: &Overrides, reader: &mut Reader<'_>) -> Self {
        let section = match &main.value {
            Yaml::Map(entries) => entries.iter().find(|(key, _)| key.text == "vars").map(|(_, own)| own),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) | Yaml::List(_) => {
                None
            }
        };
        let entries = section.map(|section| reader.entries(section)).unwrap_or_default();
        let mut values = BTreeMap::new();
        for (key, value) in entries {
            values.extend(reader.text(value).map(|text| (key.text.clone(), text)));
        }
        values.extend(overrides.around.clone());
        values.extend(overrides.said.clone());
        Self { values: Some(values), used: BTreeSet::new(), is_partial: false }
    }

    /// Notes that a file could not be read.
    pub(super) const fn miss_a_file(&mut self) {
        self.is_partial = true;
    }

    /// Replaces them everywhere in a file.
    pub(super) fn substitute(&mut self, node: &mut Node, reader: &mut Reader<'_>) {
        let span = node.span;
        match &mut node.value {
            Yaml::Text(text) if text.contains(OPEN) => *text = self.replace(text, span, reader),
            Yaml::List(items) => items.iter_mut().for_each(|item| self.substitute(item, reader)),
            Yaml::Map(entries) => {
                for (key, value) in entries {
                    if key.text.contains(OPEN) {
                        let help = Some("placeholders stand in values alone".to_owned());
                        reader.fault(key.span, "a key cannot have a placeholder in it".into(), help);
                    }
                    self.substitute(value, reader);
                }
            }
            Yaml::Text(_) | Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => {}
        }
    }

    /// A text with its placeholders replaced; those of secrets, and those with a fault, stay.
    fn replace(&mut self, text: &str, span: Span, reader: &mut Reader<'_>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            out.push_str(before);
            let is_secret = after.starts_with("secret:");
            let Some((inner, after)) = after.split_once('}').filter(|_| !is_secret) else {
                if !is_secret {
                    reader.fault(span, format!("`{OPEN}{after}` is not closed"), Some(KINDS.into()));
                }
                out.push_str(OPEN);
                rest = after;
                continue;
            };
            match inner.strip_prefix("var:") {
                Some(name) => out.push_str(&self.value(name, span, reader)),
                None => {
                    self.unknown_kind(inner, span, reader);
                    out.push_str(&format!("{OPEN}{inner}}}"));
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn value(&mut self, name: &str, span: Span, reader: &mut Reader<'_>) -> String {
        self.used.insert(name.to_owned());
        let written = format!("{OPEN}var:{name}}}");
        let Some(values) = &self.values else { return written };
        let Some(value) = values.get(name) else {
            let help = match closest(name, values.keys().map(String::as_str)) {
                Some(close) => format!("did you mean `${{var:{close}}}`?"),
                None => "declare it under `vars` in app.yaml".to_owned(),
            };
            reader.fault(span, format!("unknown variable `{written}`"), Some(help));
            return written;
        };
        if let Some((_, inner)) = value.split_once(OPEN)
            && !inner.starts_with("secret:")
        {
            let inner = inner.split_once('}').map_or(inner, |(inner, _)| inner);
            let message = format!("variable `{name}` has `{OPEN}{inner}}}` in it");
            reader.fault(span, message, Some("a variable cannot be made of others".into()));
        }
        value.clone()
    }

    fn unknown_kind(&self, inner: &str, span: Span, reader: &mut Reader<'_>) {
        let name = inner.split_once(':').map_or(inner, |(_, name)| name);
        let is_known = self.values.as_ref().is_some_and(|values| values.contains_key(name));
        let help = if is_known { format!("did you mean `${{var:{name}}}`?") } else { KINDS.to_owned() };
        reader.fault(span, format!("`{OPEN}{inner}}}` is no placeholder"), Some(help));
    }

    /// What is said for this application must be used in it.
    pub(super) fn all_used(&self, said: &BTreeMap<String, String>, main: Span, reader: &mut Reader<'_>) {
        if self.is_partial {
            return;
        }
        let used: Vec<&str> = self.used.iter().map(String::as_str).collect();
        for name in said.keys().filter(|name| !self.used.contains(*name)) {
            let known = match used[..] {
                [] => "none is used".to_owned(),
                [..] => format!("used: {}", used.join(", ")),
            };
            let help = match closest(name, used.iter().copied()) {
                Some(close) => format!("did you mean `{close}`? {known}"),
                None => known,
            };
            reader.fault(main, format!("nothing here uses a variable `{name}`, which was given"), Some(help));
        }
    }
}
