//! Archives that are none, or of no stream there could be.

use super::*;
use crate::jetstream::archive::Reader;

fn archive_of(state: &str, messages: &[(&str, u64)], whole: bool) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add("state.json", 1, 0, &[], state.as_bytes());
    for (subject, seq) in messages {
        writer.add(subject, 1_000_000, *seq, &[], b"x");
    }
    if whole {
        writer.end();
    } else {
        // As if more came.
        writer.add("s.far", 0, 1 << 62, &[], &[0; 200_000]);
    }
    let bytes = writer.take(writer.ready()).to_vec();
    assert!(Reader::default().head().is_ok());
    bytes
}

#[test]
fn what_is_no_stream_is_refused() {
    let state = |first: u64, last: u64, messages: u64| {
        format!(
            r#"{{"messages":{messages},"bytes":0,"first_seq":{first},"last_seq":{last},"consumer_count":0}}"#
        )
    };
    let attempt = |state: String, messages: &[(&str, u64)], whole: bool| {
        let mut bench = Bench::new();
        let archive = archive_of(&state, messages, whole);
        let restored = bench.restore(StreamConfig::new("S", &["s.>"]), &archive, 64);
        (restored, bench)
    };
    let (restored, bench) = attempt(state(1, 9, 2), &[("s.a", 2), ("s.b", 4)], true);
    assert_eq!((restored, bench.show("S")), (Ok(()), "2/68 2..9 6".into()));
    let (restored, bench) = attempt(state(30, 29, 0), &[], true);
    assert_eq!((restored, bench.show("S")), (Ok(()), "0/0 30..29 0".into()));
    let (restored, bench) = attempt(state(0, 0, 0), &[], true);
    assert_eq!((restored, bench.show("S")), (Ok(()), "0/0 0..0 0".into()));
    for (state, messages, why) in [
        (state(0, 9, 2), &[][..], "invalid stream state: inconsistent message count or sequence range"),
        (state(5, 3, 0), &[], "invalid stream state: inconsistent message count or sequence range"),
        (state(1, u64::MAX, 0), &[], "invalid stream state: inconsistent message count or sequence range"),
        (state(1, 3, 4), &[], "invalid stream state: message count exceeds sequence range"),
        (state(0, 0, 0).replace(":0}", ":-1}"), &[], "invalid stream state: negative consumer count"),
        (state(1, 3, 0).replace(":0}", ":1}"), &[("s.a", 1)], "expected consumer, found \"s.a\""),
        (state(1, 3, 3), &[("s.a", 2), ("s.b", 2)], "message sequence 2 out of order"),
        (state(3, 3, 1), &[("s.a", 2)], "message sequence 2 out of order"),
        (state(1, 3, 3), &[("s.a", u64::MAX)], "message sequence 18446744073709551615 out of order"),
        (state(1, 3, 3), &[("s.a", 0)], "expected message sequence"),
        (state(1, 3, 3), &[("s.*", 1)], "message sequence 1 has no valid subject"),
        (state(1, 3, 3), &[("s.a b\r\nPUB x 0", 1)], "message sequence 1 has no valid subject"),
    ] {
        let (restored, _) = attempt(state, messages, true);
        assert_eq!(restored, Err(format!("500 10062 restore failed: {why}")));
    }
    // What came before what is wrong stays.
    let (restored, mut bench) = attempt(state(1, 9, 2), &[("s.a", 2), ("s.b", 4)], false);
    assert_eq!(restored, Err("500 10062 restore failed: archive: invalid archive stream".into()));
    assert_eq!(bench.show("S"), "2/68 2..4 1");
    assert_eq!(bench.publish("s.c"), "S 5");
}

#[test]
fn another_kind_of_archive_is_told_apart() {
    let mut bench = Bench::new();
    let config = || StreamConfig::new("S", &["s.>"]);
    let tar = [b"\xff\x06\0\0S2sTwO\x01\x0c\0\0".as_slice(), &[0x65, 0x61, 0x5a, 0xfe], b"whatever"].concat();
    let failed = bench.restore(config(), &tar, 999).expect_err("is refused");
    assert!(
        failed.starts_with("500 10062 restore failed: s2: corrupt") || failed.contains("NATSARC1"),
        "{failed}"
    );
    for junk in [&b"hello"[..], b"NATSARC1 without frames", &[0; 9_000]] {
        let restored = bench.restore(config(), junk, 1_000);
        assert_eq!(restored, Err("500 10062 restore failed: s2: corrupt input".into()));
    }
    assert_eq!(bench.restore(config(), b"", 1), Err("500 10062 restore failed: EOF".into()));
    assert!(bench.broker.machine().stream("S").is_none());
}
