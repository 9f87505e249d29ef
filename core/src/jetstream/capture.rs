//! Which stream captures a subject: asked for every publish, so found by its tokens and not by looking at every stream.
//!
//! ```text
//!  orders ─┬─ eu ── >   ORDERS_EU        orders.eu.1  ─► ORDERS_EU
//!          └─ *  ── x   OTHERS           orders.us.x  ─► OTHERS
//! ```
//!
//! A subject is captured by one stream at most, as their subjects never overlap. A lookup follows the tokens of the
//! subject, by name and by wildcard: it costs what the subject is long, however many streams there are.

use crate::wire::subject::Filter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Derived from the configurations of the streams.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Captures {
    root: Node,
    len: usize,
}

/// What the subjects have in common that lead here.
#[derive(Clone, PartialEq, Debug, Default)]
struct Node {
    /// Who captures the subject that ends here.
    here: Option<Arc<str>>,
    /// Who captures every subject that goes on.
    beyond: Option<Arc<str>>,
    named: BTreeMap<Box<str>, Node>,
    any: Option<Box<Node>>,
}

impl Captures {
    /// How many filters there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, filters: &[Filter], stream: &Arc<str>) {
        for filter in filters {
            let mut node = &mut self.root;
            let mut is_open = false;
            for token in filter.as_str().split('.') {
                match token {
                    ">" => is_open = true,
                    "*" => node = node.any.get_or_insert_default(),
                    token => node = node.named.entry(token.into()).or_default(),
                }
            }
            let place = if is_open { &mut node.beyond } else { &mut node.here };
            self.len += usize::from(place.replace(stream.clone()).is_none());
        }
    }

    pub(super) fn remove(&mut self, filters: &[Filter]) {
        for filter in filters {
            let tokens: Vec<&str> = filter.as_str().split('.').collect();
            self.len -= usize::from(self.root.remove(&tokens));
        }
    }

    /// The stream that captures a subject.
    pub(super) fn stream_of(&self, subject: &str) -> Option<&Arc<str>> {
        self.root.find(subject.split('.'))
    }
}

impl Node {
    /// Takes a filter out, and what led to nothing else. Says whether it was there.
    fn remove(&mut self, tokens: &[&str]) -> bool {
        match tokens {
            [] => self.here.take().is_some(),
            [">"] => self.beyond.take().is_some(),
            ["*", rest @ ..] => {
                let Some(next) = &mut self.any else { return false };
                let removed = next.remove(rest);
                self.any.take_if(|next| next.is_empty());
                removed
            }
            [token, rest @ ..] => {
                let Some(next) = self.named.get_mut(*token) else { return false };
                let removed = next.remove(rest);
                if next.is_empty() {
                    self.named.remove(*token);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_none() && self.beyond.is_none() && self.named.is_empty() && self.any.is_none()
    }

    fn find<'t>(&self, mut tokens: impl Iterator<Item = &'t str> + Clone) -> Option<&Arc<str>> {
        let mut node = self;
        loop {
            let Some(token) = tokens.next() else { return node.here.as_ref() };
            if node.beyond.is_some() {
                return node.beyond.as_ref();
            }
            let (named, any) = (node.named.get(token), node.any.as_deref());
            node = match (named, any) {
                (None, None) => return None,
                (Some(only), None) | (None, Some(only)) => only,
                (Some(named), Some(any)) => {
                    if let Some(found) = named.find(tokens.clone()) {
                        return Some(found);
                    }
                    any
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = String> {
        let token = prop_oneof![3 => Just("a"), 3 => Just("b"), 2 => Just("*")];
        (prop::collection::vec(token, 1..4), any::<bool>()).prop_map(|(mut tokens, is_open)| {
            if is_open {
                tokens.push(">");
            }
            tokens.join(".")
        })
    }

    proptest! {
        #[test]
        fn the_index_says_what_the_filters_say(
            filters in prop::collection::vec(filter(), 0..12),
            subject in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..6),
            gone in any::<prop::sample::Index>(),
        ) {
            let subject = subject.join(".");
            let mut streams: Vec<(Filter, Arc<str>)> = Vec::new();
            let mut captures = Captures::default();
            for (nth, filter) in filters.iter().enumerate() {
                let filter = Filter::parse(filter).expect("a filter");
                if streams.iter().any(|(own, _)| own.overlaps(&filter)) {
                    continue;
                }
                let stream: Arc<str> = format!("S{nth}").into();
                captures.insert(std::slice::from_ref(&filter), &stream);
                streams.push((filter, stream));
            }
            let expected = |streams: &[(Filter, Arc<str>)]| {
                streams.iter().find(|(own, _)| own.matches(&subject)).map(|(_, stream)| stream.clone())
            };
            prop_assert_eq!(captures.stream_of(&subject).cloned(), expected(&streams));
            prop_assert_eq!(captures.len(), streams.len());
            if !streams.is_empty() {
                let (filter, _) = streams.remove(gone.index(streams.len()));
                captures.remove(&[filter]);
                prop_assert_eq!(captures.stream_of(&subject).cloned(), expected(&streams));
            }
            for (filter, _) in streams {
                captures.remove(&[filter]);
            }
            prop_assert_eq!(captures, Captures::default());
        }
    }
}
