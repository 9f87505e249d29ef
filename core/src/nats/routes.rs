//! Who gets a message: subscriptions of all connections, wildcards, queue groups.
//!
//! Filters are filed under what stands before their first wildcard. A subject has one such beginning for each of its
//! tokens, so finding its filters costs as many look-ups as it has tokens, plus a comparison with each filter found
//! there. Nothing is nested: a subject of two thousand tokens costs time, not stack.
//!
//! - Each subscription gets its own copy; of a queue group, one member does. A group is its name: members with different
//!   filters are one group for the subjects they share.
//! - Which member is a function of the `draw` that the caller passes in.
//! - Order: shorter beginnings first, subscriptions to one filter in the order in which they were made, groups last.
//! - Limits: subscriptions, in all and of one connection. Each keeps copies of its words, no longer than a control line.

use super::subject::{literal_prefix, matches, prefixes};
use super::{ConnectionId, Limits};
use crate::backoff::mix;
use bytes::Bytes;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// There are as many subscriptions as may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("too many subscriptions")]
pub struct Full;

/// Who gets a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Receiver {
    /// The connection.
    pub connection: ConnectionId,
    /// Its name for the subscription.
    pub sid: Bytes,
}

/// A filter got its first subscription, or lost its last one: of those of a queue group, or of those of none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InterestChange {
    pub(crate) filter: Bytes,
    pub(crate) queue: Option<Bytes>,
    pub(crate) gained: bool,
}

/// Subscriptions are numbered in the order in which they are made.
type Number = u64;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Subscription {
    receiver: Receiver,
    filter: Bytes,
    queue: Option<Bytes>,
    delivered: u64,
    /// It ends when it has had so many.
    max: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Subscribers {
    plain: BTreeSet<Number>,
    queues: BTreeMap<Bytes, BTreeSet<Number>>,
}

/// The subscriptions of all connections. See the module text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routes {
    subscriptions_max: usize,
    per_connection_max: usize,
    subscriptions: BTreeMap<Number, Subscription>,
    by_sid: BTreeMap<ConnectionId, BTreeMap<Bytes, Number>>,
    by_prefix: BTreeMap<Bytes, BTreeMap<Bytes, Subscribers>>,
    /// What has changed since somebody asked; kept only for who asks.
    changes: Option<Vec<InterestChange>>,
}

impl Routes {
    /// Without subscriptions.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self {
            subscriptions_max: limits.subscriptions_max,
            per_connection_max: limits.subscriptions_per_connection_max,
            subscriptions: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            by_prefix: BTreeMap::new(),
            changes: None,
        }
    }

    /// What has changed since this was last asked; from the first time on, it is kept.
    pub(crate) fn take_changes(&mut self) -> Vec<InterestChange> {
        self.changes.replace(Vec::new()).unwrap_or_default()
    }

    /// Whether anybody listens on a subject.
    pub(crate) fn has_listener(&self, subject: &[u8]) -> bool {
        self.matching(subject).next().is_some()
    }

    /// Whether anybody listens on a subject as a member of this queue group, or of none.
    pub(crate) fn has_member(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.matching(subject).any(|there| match queue {
            Some(queue) => there.queues.contains_key(queue),
            None => !there.plain.is_empty(),
        })
    }

    /// Whether a connection has a subscription of that name.
    pub(super) fn knows(&self, connection: ConnectionId, sid: &[u8]) -> bool {
        self.by_sid.get(&connection).is_some_and(|own| own.contains_key(sid))
    }

    /// How many subscriptions a connection has.
    pub(super) fn of(&self, connection: ConnectionId) -> usize {
        self.by_sid.get(&connection).map_or(0, BTreeMap::len)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Adds a subscription to a valid filter. One whose name the connection uses already changes nothing.
    ///
    /// # Errors
    /// [`Full`] when there are as many as may be.
    pub fn subscribe(
        &mut self,
        connection: ConnectionId,
        sid: &[u8],
        filter: &[u8],
        queue: Option<&[u8]>,
    ) -> Result<(), Full> {
        let own = self.by_sid.get(&connection);
        if own.is_some_and(|own| own.contains_key(sid)) {
            return Ok(());
        }
        if self.len() >= self.subscriptions_max || own.map_or(0, BTreeMap::len) >= self.per_connection_max {
            return Err(Full);
        }
        // Copies: what was received shares its memory with everything that came along with it.
        let (sid, filter) = (Bytes::copy_from_slice(sid), Bytes::copy_from_slice(filter));
        let queue = queue.map(Bytes::copy_from_slice);
        let prefix = filter.slice_ref(literal_prefix(&filter));
        let number = self.subscriptions.last_key_value().map_or(0, |(last, _)| last + 1);
        let there = self.by_prefix.entry(prefix).or_default().entry(filter.clone()).or_default();
        let members = match &queue {
            Some(queue) => there.queues.entry(queue.clone()).or_default(),
            None => &mut there.plain,
        };
        members.insert(number);
        if members.len() == 1
            && let Some(changes) = &mut self.changes
        {
            changes.push(InterestChange { filter: filter.clone(), queue: queue.clone(), gained: true });
        }
        self.by_sid.entry(connection).or_default().insert(sid.clone(), number);
        let receiver = Receiver { connection, sid };
        let subscription = Subscription { receiver, filter, queue, delivered: 0, max: None };
        self.subscriptions.insert(number, subscription);
        Ok(())
    }

    /// Ends a subscription, or lets it end when it has had `max` messages since it was made. An unknown one is fine.
    pub fn unsubscribe(&mut self, connection: ConnectionId, sid: &[u8], max: Option<u64>) {
        let Some(number) = self.by_sid.get(&connection).and_then(|own| own.get(sid)).copied() else { return };
        let Some(subscription) = self.subscriptions.get_mut(&number) else { return };
        if max.is_some_and(|max| max > subscription.delivered) {
            subscription.max = max;
        } else {
            self.end(number);
        }
    }

    /// Ends all subscriptions of a connection.
    pub fn remove(&mut self, connection: ConnectionId) {
        for number in self.by_sid.remove(&connection).unwrap_or_default().into_values() {
            self.end(number);
        }
    }

    /// Who gets a message, `except` for one connection. Counts as delivered. The subject must be routable.
    pub fn route(&mut self, subject: &[u8], except: Option<ConnectionId>, draw: u64) -> Vec<Receiver> {
        let mut chosen = Vec::new();
        let mut groups: BTreeMap<&Bytes, Vec<Number>> = BTreeMap::new();
        let wanted = |number: &Number| {
            let subscription = self.subscriptions.get(number);
            subscription.is_some_and(|own| Some(own.receiver.connection) != except)
        };
        for there in self.matching(subject) {
            chosen.extend(there.plain.iter().copied().filter(wanted));
            for (queue, members) in &there.queues {
                groups.entry(queue).or_default().extend(members.iter().copied().filter(wanted));
            }
        }
        for (nth, members) in groups.values().filter(|members| !members.is_empty()).enumerate() {
            let pick = mix(draw ^ mix(nth as u64)) % members.len() as u64;
            chosen.extend(usize::try_from(pick).ok().and_then(|pick| members.get(pick)));
        }
        chosen.into_iter().filter_map(|number| self.count(number)).collect()
    }

    /// The first subscription of a connection, outside queue groups, that hears a subject.
    #[must_use]
    pub fn listener(&self, connection: ConnectionId, subject: &[u8]) -> Option<&Receiver> {
        let numbers = self.matching(subject).flat_map(|there| &there.plain);
        let mut receivers =
            numbers.filter_map(|number| self.subscriptions.get(number)).map(|own| &own.receiver);
        receivers.find(|receiver| receiver.connection == connection)
    }

    fn matching<'r>(&'r self, subject: &'r [u8]) -> impl Iterator<Item = &'r Subscribers> {
        let filed = prefixes(subject).filter_map(|prefix| self.by_prefix.get(prefix));
        // The widest first, as the real server: `>` sorts behind `*`.
        let filters = filed.flat_map(|filters| filters.iter().rev());
        filters.filter(|(filter, _)| matches(filter, subject)).map(|(_, there)| there)
    }

    fn count(&mut self, number: Number) -> Option<Receiver> {
        let subscription = self.subscriptions.get_mut(&number)?;
        subscription.delivered += 1;
        let receiver = subscription.receiver.clone();
        if subscription.max.is_some_and(|max| subscription.delivered >= max) {
            self.end(number);
        }
        Some(receiver)
    }

    /// Nothing empty stays behind, so memory follows the subscriptions there are.
    fn end(&mut self, number: Number) {
        let Some(Subscription { receiver, filter, queue, .. }) = self.subscriptions.remove(&number) else {
            return;
        };
        prune(&mut self.by_sid, &receiver.connection, |own| {
            own.remove(&receiver.sid);
            own.is_empty()
        });
        let mut lost = false;
        prune(&mut self.by_prefix, literal_prefix(&filter), |filters| {
            prune(filters, &filter[..], |there| {
                lost = match &queue {
                    Some(queue) => prune(&mut there.queues, &queue[..], |members| {
                        members.remove(&number);
                        members.is_empty()
                    }),
                    None => there.plain.remove(&number) && there.plain.is_empty(),
                };
                there.plain.is_empty() && there.queues.is_empty()
            });
            filters.is_empty()
        });
        if lost && let Some(changes) = &mut self.changes {
            changes.push(InterestChange { filter, queue, gained: false });
        }
    }
}

/// Changes an entry, and removes it if `then_empty` says so. Whether it did.
fn prune<K, Q, V>(map: &mut BTreeMap<K, V>, key: &Q, then_empty: impl FnOnce(&mut V) -> bool) -> bool
where
    K: Borrow<Q> + Ord,
    Q: Ord + ?Sized,
{
    let empty = map.get_mut(key).is_some_and(then_empty);
    if empty {
        map.remove(key);
    }
    empty
}
