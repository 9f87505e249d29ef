//! The routing table against a model that keeps a list and compares everything with everything.

use crate::nats::routes::{Full, Receiver, Routes};
use crate::nats::subject::{is_filter, is_literal, is_routable, literal_prefix, matches};
use crate::nats::{ConnectionId, Limits};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;

const LIMITS: Limits =
    Limits { subscriptions_max: 12, subscriptions_per_connection_max: 5, ..Limits::DEFAULT };

#[test]
fn subjects_are_what_the_real_server_takes() {
    for (subject, filter, routable, literal) in [
        ("a", true, true, true),
        ("a.b*.>c", true, true, true),
        ("a.*", true, true, false),
        ("a.>", true, true, false),
        ("a.>.b", false, true, false),
        ("a..b", false, false, false),
        (".a", false, false, false),
        ("a.", false, false, false),
        ("", false, false, false),
    ] {
        let is = |check: fn(&[u8]) -> bool| check(subject.as_bytes());
        assert_eq!(
            (is(is_filter), is(is_routable), is(is_literal)),
            (filter, routable, literal),
            "{subject}"
        );
    }
    for (filter, prefix) in
        [("a.b", "a.b"), ("a.*.c", "a"), ("a.b.>", "a.b"), (">", ""), ("*.a", ""), ("a*.b", "a*.b")]
    {
        assert_eq!(literal_prefix(filter.as_bytes()), prefix.as_bytes(), "{filter}");
    }
    for (filter, subject, expected) in [
        ("a.>", "a.b.c", true),
        ("a.>", "a", false),
        ("a.*", "a.*", true),
        ("a.b", "a.*", false),
        ("*", "a.b", false),
    ] {
        assert_eq!(matches(filter.as_bytes(), subject.as_bytes()), expected, "{filter} {subject}");
    }
}

fn sids(routes: &mut Routes, subject: &str, draw: u64) -> Vec<String> {
    let text = |receiver: Receiver| String::from_utf8_lossy(&receiver.sid).into_owned();
    routes.route(subject.as_bytes(), None, draw).into_iter().map(text).collect()
}

#[test]
fn every_subscription_gets_its_copy_and_one_member_of_each_group() {
    let mut routes = Routes::new(&Limits::DEFAULT);
    let one = ConnectionId(1);
    for (sid, filter, queue) in [
        ("1", "a.*", None),
        ("2", "a.>", None),
        ("3", ">", None),
        ("4", "a.b", Some("q")),
        ("5", "a.*", Some("q")),
        ("6", "a.b", Some("p")),
    ] {
        let queue = queue.map(str::as_bytes);
        assert_eq!(routes.subscribe(one, sid.as_bytes(), filter.as_bytes(), queue), Ok(()));
    }
    let served: BTreeSet<Vec<String>> = (0..40).map(|draw| sids(&mut routes, "a.b", draw)).collect();
    let expected = [["3", "2", "1", "6", "4"], ["3", "2", "1", "6", "5"]];
    assert_eq!(served, expected.map(|sids| sids.map(str::to_owned).to_vec()).into(), "a group is its name");
    assert_eq!(sids(&mut routes, "a.b", 7), sids(&mut routes, "a.b", 7), "the draw decides");
    routes.remove(one);
    assert_eq!(routes, Routes::new(&Limits::DEFAULT), "nothing is left");
}

#[test]
fn a_maximum_counts_from_the_beginning_of_the_subscription() {
    let mut routes = Routes::new(&Limits::DEFAULT);
    let one = ConnectionId(1);
    for sid in [b"1", b"2"] {
        routes.subscribe(one, sid, b"a", None).expect("room");
    }
    assert_eq!(sids(&mut routes, "a", 0), ["1", "2"]);
    routes.unsubscribe(one, b"1", Some(2));
    routes.unsubscribe(one, b"2", Some(1));
    routes.unsubscribe(one, b"9", None);
    assert_eq!(sids(&mut routes, "a", 0), ["1"]);
    assert!(routes.is_empty());
}

#[test]
fn a_subject_of_many_tokens_costs_no_stack() {
    let mut routes = Routes::new(&Limits::DEFAULT);
    let subject = vec!["a"; 2048].join(".");
    let filter = format!("{}.>", vec!["*"; 2047].join("."));
    for (sid, filter) in [("1", &subject), ("2", &filter)] {
        routes.subscribe(ConnectionId(1), sid.as_bytes(), filter.as_bytes(), None).expect("room");
    }
    assert_eq!(sids(&mut routes, &subject, 0), ["2", "1"]);
}

#[derive(Clone, Debug)]
enum Op {
    Subscribe { connection: u64, sid: u8, filter: &'static str, queue: Option<&'static str> },
    Unsubscribe { connection: u64, sid: u8, max: Option<u64> },
    Remove { connection: u64 },
    Route { subject: &'static str, except: Option<u64>, draw: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let filters = ["a", "b", "a.b", "a.*", "*.b", "a.>", ">", "*", "a.b.c", "a.*.c", "*.*.>", "a*.b"];
    let subjects = ["a", "b", "a.b", "a.c", "a.b.c", "c.b.c", "a*.b", "a.*", "c"];
    let queue = prop::sample::select(vec![None, None, Some("q"), Some("p")]);
    let except = prop::option::of(0..3_u64);
    prop_oneof![
        4 => (0..3_u64, 0..8_u8, prop::sample::select(filters.to_vec()), queue)
            .prop_map(|(connection, sid, filter, queue)| Op::Subscribe { connection, sid, filter, queue }),
        2 => (0..3_u64, 0..8_u8, prop::option::of(0..4_u64))
            .prop_map(|(connection, sid, max)| Op::Unsubscribe { connection, sid, max }),
        1 => (0..3_u64).prop_map(|connection| Op::Remove { connection }),
        6 => (prop::sample::select(subjects.to_vec()), except, any::<u64>())
            .prop_map(|(subject, except, draw)| Op::Route { subject, except, draw }),
    ]
}

#[derive(Clone, Debug)]
struct Entry {
    connection: u64,
    sid: u8,
    filter: &'static str,
    queue: Option<&'static str>,
    delivered: u64,
    max: Option<u64>,
}

/// Token by token, over text: written apart from the code it judges.
fn means(filter: &str, subject: &str) -> bool {
    let (filter, subject): (Vec<&str>, Vec<&str>) =
        (filter.split('.').collect(), subject.split('.').collect());
    let open = filter.last() == Some(&">");
    let fixed = filter.len() - usize::from(open);
    (if open { subject.len() > fixed } else { subject.len() == fixed })
        && filter.iter().zip(&subject).take(fixed).all(|(wanted, token)| *wanted == "*" || wanted == token)
}

/// Checks what the table chose, and counts it. Which member of a group it is, the table decides.
fn agree(
    model: &mut Vec<Entry>,
    subject: &str,
    except: Option<u64>,
    chosen: &[Receiver],
) -> Result<(), TestCaseError> {
    let chosen: Vec<(u64, u8)> =
        chosen.iter().map(|receiver| (receiver.connection.0, receiver.sid[0])).collect();
    let hit = |entry: &Entry| means(entry.filter, subject) && Some(entry.connection) != except;
    let plain: Vec<_> = model.iter().filter(|entry| entry.queue.is_none() && hit(entry)).collect();
    let groups: BTreeSet<_> =
        model.iter().filter(|entry| hit(entry)).filter_map(|entry| entry.queue).collect();
    prop_assert_eq!(chosen.len(), plain.len() + groups.len());
    for entry in plain {
        prop_assert!(chosen.contains(&(entry.connection, entry.sid)), "{:?}", entry);
    }
    for group in groups {
        let members = model.iter().filter(|entry| entry.queue == Some(group) && hit(entry));
        let served = members.filter(|entry| chosen.contains(&(entry.connection, entry.sid))).count();
        prop_assert_eq!(served, 1, "of group {}", group);
    }
    for entry in model.iter_mut().filter(|entry| chosen.contains(&(entry.connection, entry.sid))) {
        entry.delivered += 1;
    }
    model.retain(|entry| entry.max.is_none_or(|max| entry.delivered < max));
    Ok(())
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_list(ops in prop::collection::vec(op(), 0..60)) {
        let mut routes = Routes::new(&LIMITS);
        let mut model: Vec<Entry> = Vec::new();
        for op in ops {
            match op {
                Op::Subscribe { connection, sid, filter, queue } => {
                    let own = model.iter().filter(|entry| entry.connection == connection);
                    let known = own.clone().any(|entry| entry.sid == sid);
                    let full = own.count() >= LIMITS.subscriptions_per_connection_max
                        || model.len() >= LIMITS.subscriptions_max;
                    let expected = if full && !known { Err(Full) } else { Ok(()) };
                    let queue_bytes = queue.map(str::as_bytes);
                    let made = routes.subscribe(ConnectionId(connection), &[sid], filter.as_bytes(), queue_bytes);
                    prop_assert_eq!(made, expected);
                    if !known && !full {
                        model.push(Entry { connection, sid, filter, queue, delivered: 0, max: None });
                    }
                }
                Op::Unsubscribe { connection, sid, max } => {
                    routes.unsubscribe(ConnectionId(connection), &[sid], max);
                    let mine = |entry: &Entry| (entry.connection, entry.sid) == (connection, sid);
                    let ended = |entry: &Entry| max.is_none_or(|max| max <= entry.delivered);
                    model.retain(|entry| !(mine(entry) && ended(entry)));
                    for entry in model.iter_mut().filter(|entry| mine(entry)) {
                        entry.max = max;
                    }
                }
                Op::Remove { connection } => {
                    routes.remove(ConnectionId(connection));
                    model.retain(|entry| entry.connection != connection);
                }
                Op::Route { subject, except, draw } => {
                    let listener = routes.listener(ConnectionId(0), subject.as_bytes()).map(|own| own.sid.clone());
                    let hears = |entry: &&Entry| {
                        entry.connection == 0 && entry.queue.is_none() && means(entry.filter, subject)
                    };
                    let listens = |sid: Bytes| model.iter().filter(hears).any(|entry| [entry.sid] == sid[..]);
                    prop_assert_eq!(listener.is_some(), model.iter().any(|entry| hears(&entry)));
                    prop_assert!(listener.is_none_or(listens));
                    let chosen = routes.route(subject.as_bytes(), except.map(ConnectionId), draw);
                    agree(&mut model, subject, except, &chosen)?;
                }
            }
            prop_assert_eq!(routes.len(), model.len());
        }
        (0..3).for_each(|connection| routes.remove(ConnectionId(connection)));
        prop_assert_eq!(routes, Routes::new(&LIMITS), "nothing is left");
    }
}
