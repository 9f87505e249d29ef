//! What a publisher is told, as `p02_publish.py` and `p06_cluster.py` saw it.

use super::super::api::{Discard, StreamConfig};
use super::super::{MessageBy, Request};
use super::{Bench, LIMITS, MS, S};
use crate::jetstream::Limits;

const ID: &str = "Nats-Msg-Id";
const LAST_SEQ: &str = "Nats-Expected-Last-Sequence";
const LAST_SUBJECT_SEQ: &str = "Nats-Expected-Last-Subject-Sequence";
const LAST_SUBJECT_SEQ_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const LAST_ID: &str = "Nats-Expected-Last-Msg-Id";

#[test]
fn ids_and_expectations_on_one_replica() {
    let mut bench = Bench::new();
    bench.stream("D", |_| {});
    let mut publish = |subject: &str, headers: &[(&str, &str)]| bench.publish_with(subject, "x", headers);
    assert_eq!(publish("d.a", &[(ID, "1")]), "D 1");
    assert_eq!(publish("d.a", &[(ID, "1")]), "D 1 duplicate");
    // The retry contradicts its own first attempt: the expectation is looked at before the id.
    assert_eq!(publish("d.k", &[(ID, "k1"), (LAST_SUBJECT_SEQ, "0")]), "D 2");
    assert_eq!(publish("d.k", &[(ID, "k1"), (LAST_SUBJECT_SEQ, "0")]), "400 10071 wrong last sequence: 2");
    assert_eq!(publish("d.k", &[(ID, "k2"), (LAST_SEQ, "2")]), "D 3");
    assert_eq!(publish("d.k", &[(ID, "k2"), (LAST_SEQ, "2")]), "400 10071 wrong last sequence: 3");
    assert_eq!(publish("d.k", &[(ID, "k3"), (LAST_ID, "k2")]), "D 4");
    assert_eq!(publish("d.k", &[(ID, "k3"), (LAST_ID, "k2")]), "D 4 duplicate");
    assert_eq!(publish("d.k", &[("Nats-Expected-Stream", "ZZ")]), "400 10060 expected stream does not match");
    assert_eq!(publish("d.k", &[(LAST_ID, "zz")]), "400 10070 wrong last msg ID: k3");
    assert_eq!(
        publish("d.k", &[(LAST_SUBJECT_SEQ_SUBJECT, "d.a")]),
        "400 10193 missing sequence for expected last sequence per subject"
    );
    assert_eq!(publish("d.k9", &[(LAST_SUBJECT_SEQ, "1"), (LAST_SUBJECT_SEQ_SUBJECT, "d.a")]), "D 5");
    assert_eq!(publish("d.k9", &[(LAST_SUBJECT_SEQ, "5"), (LAST_SUBJECT_SEQ_SUBJECT, "d.*")]), "D 6");
    assert_eq!(publish("d.k9", &[(LAST_SUBJECT_SEQ, "99")]), "400 10071 wrong last sequence: 6");
    assert_eq!(publish("d.k9", &[(LAST_SEQ, "abc")]), "400 10071 wrong last sequence: 6");
    assert_eq!(publish("d.other", &[(ID, "1")]), "D 1 duplicate");
    assert_eq!(publish("d.a", &[("nats-msg-id", "1")]), "D 7");
    assert_eq!(bench.show("D"), "7/718 1..7 0");
    assert_eq!(bench.state("D").num_subjects, 3);
}

#[test]
fn a_cluster_looks_at_the_id_first() {
    let mut bench = Bench::new();
    bench.stream("R3", |config| config.num_replicas = 3);
    for (id, expectation, expected, seq) in [("k1", LAST_SUBJECT_SEQ, "0", 1), ("k2", LAST_SEQ, "1", 2)] {
        let headers = [(ID, id), (expectation, expected)];
        assert_eq!(bench.publish_with("r3.k", "x", &headers), format!("R3 {seq}"));
        assert_eq!(bench.publish_with("r3.k", "x", &headers), format!("R3 {seq} duplicate"));
    }
    assert_eq!(bench.publish_with("r3.k", "x", &[(LAST_SEQ, "1")]), "400 10071 wrong last sequence: 2");
    assert_eq!(
        bench.publish_with("r3.k", "x", &[(LAST_SUBJECT_SEQ, "1")]),
        "400 10071 wrong last sequence: 2"
    );
}

#[test]
fn the_last_id_is_that_of_the_message_stored_last() {
    let mut bench = Bench::new();
    bench.stream("L", |_| {});
    bench.publish_with("l.a", "x", &[(ID, "k3")]);
    bench.publish("l.a");
    assert_eq!(bench.publish_with("l.a", "x", &[(LAST_ID, "k3")]), "400 10070 wrong last msg ID: ");
}

#[test]
fn an_expected_subject_sequence_is_that_of_the_last_stored_message() {
    let mut bench = Bench::new();
    bench.stream("E", |_| {});
    bench.publish_many("e.a", 2);
    bench.delete_message("E", 2);
    assert_eq!(
        bench.publish_with("e.a", "x", &[(LAST_SUBJECT_SEQ, "2")]),
        "400 10071 wrong last sequence: 1"
    );
    assert_eq!(bench.publish_with("e.a", "x", &[(LAST_SUBJECT_SEQ, "1")]), "E 3");
    assert_eq!(bench.purge("E", Some("e.a"), None, None), "2");
    assert_eq!(bench.publish_with("e.a", "x", &[(LAST_SUBJECT_SEQ, "0")]), "E 4");
}

#[test]
fn the_window_is_measured_from_the_first_store() {
    let mut bench = Bench::new();
    bench.stream("W", |config| config.duplicate_window_ns = 500 * MS);
    let publish = |bench: &mut Bench, id| bench.publish_with("w.a", "x", &[(ID, id)]);
    assert_eq!(publish(&mut bench, "1"), "W 1");
    bench.advance(400);
    assert_eq!(publish(&mut bench, "1"), "W 1 duplicate");
    bench.advance(99);
    assert_eq!(publish(&mut bench, "1"), "W 1 duplicate");
    bench.advance(1);
    assert_eq!(publish(&mut bench, "1"), "W 2", "a repeat must not extend the window");
    // Stored again before anybody noticed that the first was too old.
    bench.now.mono = bench.now.mono.plus_ms(600);
    bench.now.wall = crate::time::Wall::from_ms(bench.now.wall.as_ms() + 600);
    assert_eq!(publish(&mut bench, "1"), "W 3");
    assert_eq!(publish(&mut bench, "1"), "W 3 duplicate");
    // Ids outlive their message while the broker runs.
    assert_eq!(publish(&mut bench, "2"), "W 4");
    bench.purge("W", None, None, None);
    assert_eq!(publish(&mut bench, "2"), "W 4 duplicate");
}

#[test]
fn sizes_count_headers() {
    let mut bench = Bench::new();
    bench.stream("S", |config| config.max_msg_size = 10);
    let too_large = "400 10054 message size exceeds maximum allowed";
    assert_eq!(bench.publish_with("s.a", &"x".repeat(11), &[]), too_large);
    assert_eq!(bench.publish_with("s.a", &"x".repeat(10), &[]), "S 1");
    assert_eq!(bench.publish_with("s.a", "x", &[("A", "b")]), too_large);
    bench.stream("SH", |_| {});
    let huge = "v".repeat(66_000);
    assert_eq!(
        bench.publish_with("sh.a", "x", &[("H", &huge)]),
        "400 10097 header size exceeds maximum allowed of 64k"
    );
    assert_eq!(bench.publish_with("sh.a", &"x".repeat(LIMITS.message_bytes_max + 1), &[]), too_large);
}

#[test]
fn discard_new_refuses_at_the_limit() {
    let mut bench = Bench::new();
    bench.stream("N", |config| (config.discard, config.max_msgs) = (Discard::New, 2));
    bench.publish_many("n.a", 2);
    assert_eq!(bench.publish("n.a"), "503 10077 maximum messages exceeded");
    for (max_bytes, second) in [(60, "503 10077 maximum bytes exceeded"), (70, "NB 2")] {
        bench.request(Request::StreamDelete { stream: "NB".into() });
        bench.stream("NB", |config| (config.discard, config.max_bytes) = (Discard::New, max_bytes));
        assert_eq!(bench.publish("nb.a"), "NB 1");
        assert_eq!(bench.publish("nb.a"), second);
    }
    let per_subject = |config: &mut StreamConfig| {
        config.discard = Discard::New;
        config.max_msgs_per_subject = 1;
    };
    bench.stream("NP", |config| {
        per_subject(config);
        config.discard_new_per_subject = true;
    });
    assert_eq!(bench.publish("np.a"), "NP 1");
    assert_eq!(bench.publish("np.a"), "503 10077 maximum messages per subject exceeded");
    assert_eq!(bench.publish("np.b"), "NP 2");
    bench.stream("NPO", per_subject);
    bench.publish_many("npo.a", 2);
    assert_eq!(bench.show("NPO"), "1/36 2..2 0");
}

#[test]
fn discard_old_removes_the_oldest() {
    let mut bench = Bench::new();
    bench.stream("O", |config| config.max_msgs = 2);
    for subject in ["o.a", "o.b", "o.c"] {
        bench.publish(subject);
    }
    assert_eq!(bench.show("O"), "2/68 2..3 0");
    bench.stream("OP", |config| config.max_msgs_per_subject = 2);
    bench.publish_many("op.a", 4);
    bench.publish("op.b");
    assert_eq!(bench.show("OP"), "3/105 3..5 0");
    bench.stream("OB", |config| config.max_bytes = 70);
    bench.publish_many("ob.a", 3);
    assert_eq!(bench.show("OB"), "2/70 2..3 0");
    assert_eq!(bench.publish_with("ob.a", &"y".repeat(200), &[]), "OB 4", "acked, and gone at once");
    assert_eq!(bench.show("OB"), "0/0 5..4 0");
    assert_eq!(bench.publish("ob.a"), "OB 5");
}

#[test]
fn a_rollup_replaces_what_is_older() {
    let mut bench = Bench::new();
    bench.stream("R", |config| config.allow_rollup_hdrs = true);
    bench.publish_many("r.a", 3);
    bench.publish("r.b");
    assert_eq!(bench.publish_with("r.a", "x", &[("Nats-Rollup", "sub")]), "R 5");
    assert_eq!(bench.show("R"), "2/102 4..5 0");
    assert_eq!(bench.publish_with("r.c", "x", &[("Nats-Rollup", "all")]), "R 6");
    assert_eq!(bench.show("R"), "1/68 6..6 0");
    assert_eq!(
        bench.publish_with("r.c", "x", &[("Nats-Rollup", "zzz")]),
        "500 10111 rollup value invalid: \"zzz\""
    );
    bench.stream("R2", |_| {});
    assert_eq!(bench.publish_with("r2.a", "x", &[("Nats-Rollup", "sub")]), "500 10111 rollup not permitted");
}

#[test]
fn features_that_are_off_say_so() {
    let mut bench = Bench::new();
    bench.stream("D", |_| {});
    for (header, error) in [
        ("Nats-TTL", "400 10166 per-message TTL is disabled"),
        ("Nats-Incr", "400 10168 message counters is disabled"),
        ("Nats-Batch-Id", "400 10174 atomic publish is disabled"),
        ("Nats-Schedule", "400 10188 message schedules is disabled"),
        ("Nats-Stream-Source", "400 10227 message stream source header is not allowed"),
    ] {
        assert_eq!(bench.publish_with("d.a", "x", &[(header, "1")]), error);
    }
    assert_eq!(bench.publish("nobody.home"), "503 nobody.home");
}

#[test]
fn age_removes_messages_in_time_and_a_bounded_number_a_step() {
    let mut bench = Bench::with(Limits { expiries_per_step_max: 2, ..LIMITS });
    bench.stream("AG", |config| (config.max_age_ns, config.duplicate_window_ns) = (S, S));
    bench.publish_many("ag.a", 5);
    bench.advance(999);
    assert_eq!(bench.show("AG"), "5/175 1..5 0");
    bench.advance(1);
    assert_eq!(bench.show("AG"), "0/0 6..5 0");
    assert_eq!(bench.publish_with("ag.a", "x", &[(LAST_SUBJECT_SEQ, "0")]), "AG 6");
}

#[test]
fn what_memory_holds_is_bounded() {
    let mut bench =
        Bench::with(Limits { messages_per_stream_max: 3, message_ids_per_stream_max: 1, ..LIMITS });
    bench.stream("B", |_| {});
    assert_eq!(bench.publish_with("b.a", "x", &[(ID, "1")]), "B 1");
    assert_eq!(bench.publish_with("b.a", "x", &[(ID, "2")]), "503 10023 insufficient resources");
    assert_eq!(bench.publish_with("b.a", "x", &[(ID, "1")]), "B 1 duplicate");
    bench.publish_many("b.a", 2);
    assert_eq!(bench.publish("b.a"), "503 10023 insufficient resources");
}

#[test]
fn what_was_stored_is_read_back() {
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    for subject in ["g.a", "g.b", "g.a"] {
        bench.publish(subject);
    }
    let last = |subject: &str| MessageBy::LastBySubject(subject.into());
    let next = |subject: &str, seq| MessageBy::NextBySubject { subject: subject.into(), seq };
    assert_eq!(bench.get("G", MessageBy::Seq(2)), Ok(2));
    assert_eq!(bench.get("G", last("g.a")), Ok(3));
    assert_eq!(bench.get("G", last("g.*")), Ok(3));
    assert_eq!(bench.get("G", next("g.a", 2)), Ok(3));
    assert_eq!(bench.get("G", next("g.>", 0)), Ok(1));
    let missing = Err("404 10037 no message found".to_owned());
    assert_eq!(bench.get("G", MessageBy::Seq(9)), missing);
    assert_eq!(bench.get("G", last("g.z")), missing);
    assert_eq!(bench.get("H", MessageBy::Seq(1)), Err("404 10059 stream not found".to_owned()));
}
