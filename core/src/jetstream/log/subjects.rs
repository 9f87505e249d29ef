//! The subjects of a log's messages, numbered: a message names its subject with four bytes.
//!
//! A number is free again when its subject has no message, and is given again.

use super::seqs::Seqs;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Subject {
    name: Arc<str>,
    seqs: Seqs,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Subjects {
    numbers: BTreeMap<Arc<str>, u32>,
    /// By number.
    subjects: Vec<Option<Subject>>,
    free: Vec<u32>,
}

impl Subjects {
    fn by_number(&self, number: u32) -> &Subject {
        self.subjects[number as usize].as_ref().expect("a number that is given names a subject")
    }

    pub(super) fn name(&self, number: u32) -> &Arc<str> {
        &self.by_number(number).name
    }

    pub(super) fn get(&self, name: &str) -> Option<&Seqs> {
        self.numbers.get(name).map(|number| &self.by_number(*number).seqs)
    }

    /// The name as it is shared here.
    pub(super) fn shared(&self, name: &str) -> Option<&Arc<str>> {
        self.numbers.get_key_value(name).map(|(shared, _)| shared)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Seqs)> {
        self.numbers.iter().map(|(name, number)| (name, &self.by_number(*number).seqs))
    }

    /// Adds a sequence behind all others of its subject; returns the subject's number.
    pub(super) fn push(&mut self, name: Arc<str>, seq: u64) -> u32 {
        if let Some(number) = self.numbers.get(&name) {
            let own = self.subjects[*number as usize].as_mut();
            own.expect("a number that is given names a subject").seqs.push(seq);
            return *number;
        }
        let subject = Some(Subject { name: name.clone(), seqs: Seqs::one(seq) });
        let number = match self.free.pop() {
            Some(number) => {
                self.subjects[number as usize] = subject;
                number
            }
            None => {
                self.subjects.push(subject);
                u32::try_from(self.subjects.len() - 1).expect("fewer subjects than messages")
            }
        };
        self.numbers.insert(name, number);
        number
    }

    /// Removes a sequence of a subject; returns the subject's name.
    pub(super) fn remove(&mut self, number: u32, seq: u64) -> Arc<str> {
        let room = &mut self.subjects[number as usize];
        let own = room.as_mut().expect("a number that is given names a subject");
        let name = own.name.clone();
        if own.seqs.remove(seq) {
            *room = None;
            self.free.push(number);
            self.numbers.remove(&name);
            if self.numbers.is_empty() {
                *self = Self::default();
            }
        }
        name
    }

    /// What it takes, in bytes, without names and what the tree adds around its entries.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let own = self.subjects.capacity() * size_of::<Option<Subject>>() + self.free.capacity() * 4;
        let tree = self.numbers.len() * size_of::<(Arc<str>, u32)>();
        own + tree + self.iter().map(|(_, seqs)| seqs.heap_bytes()).sum::<usize>()
    }
}
