//! Snapshots and restores: what is archived comes back, chunk by chunk, and nothing else does.

use super::*;
use crate::jetstream::archive::Writer;
use crate::jetstream::{SnapshotEnd, SnapshotRequest};

mod damaged;

/// A piece of a snapshot: where it is acknowledged, and how long it is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Chunk(Option<String>, Bytes),
    End(SnapshotEnd),
}

fn pieces(effects: &[Effect]) -> Vec<Piece> {
    let piece = |effect: &Effect| match effect {
        Effect::Chunk { to, reply, payload } => {
            assert_eq!(to, "deliver");
            Some(Piece::Chunk(reply.clone(), payload.clone()))
        }
        Effect::SnapshotEnded { to, end } => {
            assert_eq!(to, "deliver");
            Some(Piece::End(end.clone()))
        }
        Effect::Reply { .. }
        | Effect::Deliver(_)
        | Effect::Status { .. }
        | Effect::Advise { .. }
        | Effect::Republish { .. } => None,
    };
    effects.iter().filter_map(piece).collect()
}

impl Bench {
    fn hear(&mut self, subject: &str) {
        self.turn(vec![Input::InterestGained { subject: subject.into(), group: None }]);
    }

    fn begin_snapshot(&mut self, stream: &str, chunk_bytes: i64, window_bytes: i64) -> Vec<Piece> {
        let deliver_subject = "deliver".to_owned();
        let asked = SnapshotRequest { deliver_subject, no_consumers: false, chunk_bytes, window_bytes };
        let request = Request::StreamSnapshot { stream: stream.into(), asked };
        let reply = self.inbox();
        let mut effects = self.turn(vec![Input::Requested { reply: reply.clone(), request }]);
        effects.extend(self.advance(0));
        let begun = answers(effects.clone(), &reply).pop();
        assert!(matches!(begun, Some(Answer::SnapshotBegun { .. })), "{begun:?}");
        pieces(&effects)
    }

    fn ack_chunk(&mut self, chunk: &str) -> Vec<Piece> {
        let snapshot = chunk.split('.').nth(4).expect("an id").to_owned();
        let mut effects = self.turn(vec![Input::SnapshotAcked { snapshot, reply: None }]);
        effects.extend(self.advance(0));
        pieces(&effects)
    }

    /// The whole archive, taken by somebody who acknowledges.
    fn archive(&mut self, stream: &str) -> Vec<u8> {
        self.hear("deliver");
        let mut archive = Vec::new();
        let mut coming: std::collections::VecDeque<_> = self.begin_snapshot(stream, 1024, 4096).into();
        while let Some(piece) = coming.pop_front() {
            match piece {
                Piece::Chunk(reply, payload) => {
                    archive.extend_from_slice(&payload);
                    coming.extend(reply.iter().flat_map(|reply| self.ack_chunk(reply)));
                }
                Piece::End(end) => {
                    assert!(matches!(end, SnapshotEnd::Small | SnapshotEnd::Complete), "{end:?}");
                    assert!(coming.is_empty());
                    return archive;
                }
            }
        }
        panic!("a snapshot without an end");
    }

    fn begin_restore(&mut self, config: StreamConfig) -> Result<String, String> {
        let answer = self.request(Request::StreamRestore { config: Box::new(config) });
        if let Answer::Failed(error) = &answer {
            return Err(refused(error));
        }
        let Answer::RestoreBegun { deliver_subject } = answer else { panic!("{answer:?}") };
        let id = deliver_subject.strip_prefix("$JS.SNAPSHOT.RESTORE.").expect("a restore");
        Ok(id.split_once('.').expect("a stream").1.to_owned())
    }

    fn send(&mut self, restore: &str, payload: &[u8]) -> Option<Answer> {
        let reply = self.inbox();
        let input = Input::RestoreChunk {
            restore: restore.into(),
            reply: Some(reply.clone()),
            payload: Bytes::copy_from_slice(payload),
        };
        let mut effects = self.turn(vec![input]);
        effects.extend(self.advance(0));
        let mut answers = answers(effects, &reply);
        assert!(answers.len() < 2, "{answers:?}");
        answers.pop()
    }

    fn restore(&mut self, config: StreamConfig, archive: &[u8], chunk: usize) -> Result<(), String> {
        let restore = self.begin_restore(config)?;
        for payload in archive.chunks(chunk) {
            assert_eq!(self.send(&restore, payload), Some(Answer::AckProcessed));
        }
        let answer = self.send(&restore, b"");
        let Some(Answer::Restored(restored)) = answer else { panic!("{answer:?}") };
        restored.map(drop).map_err(|error| refused(&error))
    }

    fn config(&self, stream: &str) -> StreamConfig {
        self.broker.machine().stream(stream).expect("a stream").config
    }
}

/// What does not compress to nothing, so that an archive has several blocks.
fn noise(n: u64) -> String {
    let mixed = |at: u64| (n * 1_000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % 75;
    (0..900).map(|at| char::from(b'0' + mixed(at) as u8)).collect()
}

/// A stream with holes, consumers in the middle of their work, and its configuration.
fn busy() -> (Bench, StreamConfig) {
    let mut bench = Bench::new();
    bench.stream("S", |_| ());
    for n in 0..300 {
        bench.publish_with(&format!("s.{}", n % 7), &noise(n), &[("Nats-Msg-Id", &format!("id{n}"))]);
    }
    for seq in [1, 5, 150, 300] {
        bench.delete_message("S", seq);
    }
    bench.durable("S", "worker", |config| config.max_deliver = 2);
    bench.durable("S", "filtered", |config| config.filter_subject = Some("s.3".into()));
    bench.durable("S", "last", |config| {
        config.deliver_policy = DeliverPolicy::LastPerSubject;
        config.filter_subject = Some("s.*".into());
    });
    let taken = bench.take("S", "worker", 10);
    bench.ack(&taken[0]);
    bench.ack(&taken[3]);
    bench.take("S", "last", 2);
    bench.advance(31_000);
    // Two of them for the last time.
    bench.take("S", "worker", 2);
    bench.advance(31_000);
    bench.take("S", "worker", 3);
    let config = bench.config("S");
    (bench, config)
}

const CONSUMERS: [&str; 3] = ["worker", "filtered", "last"];

fn shown(bench: &Bench) -> Vec<String> {
    let consumers = CONSUMERS.iter().map(|name| bench.info("S", name));
    std::iter::once(bench.show("S")).chain(consumers).collect()
}

#[test]
fn what_is_archived_comes_back_on_another_broker() {
    let (mut bench, config) = busy();
    let archive = bench.archive("S");
    for storage in [super::super::api::Storage::File, super::super::api::Storage::Memory] {
        let mut other = Bench::new();
        let config = StreamConfig { storage, ..config.clone() };
        assert_eq!(other.restore(config, &archive, 700), Ok(()));
        let mut expected = shown(&bench);
        if storage == super::super::api::Storage::Memory {
            // The memory store counts other bytes.
            expected[0] = other.show("S");
        }
        assert_eq!(shown(&other), expected);
        for bench in [&mut bench.clone(), &mut other] {
            bench.advance(100);
        }
        assert_eq!(other.publish("s.1"), "S 301");
        assert_eq!(other.get("S", MessageBy::Seq(2)), Ok(2));
        assert_eq!(other.get("S", MessageBy::Seq(5)), Err("404 10037 no message found".into()));
        // What was delivered and not settled comes again, what was delivered often enough does not.
        let (mut here, mut there) = (bench.clone(), other.clone());
        here.publish("s.1");
        for name in CONSUMERS {
            here.advance(60_000);
            there.advance(60_000);
            assert_eq!(there.fetch("S", name, 400), here.fetch("S", name, 400), "{name}");
        }
    }
}

#[test]
fn a_restored_stream_survives_a_crash() {
    let (mut bench, config) = busy();
    let archive = bench.archive("S");
    let mut other = Bench::new();
    assert_eq!(other.restore(config, &archive, 5_000), Ok(()));
    let before = shown(&other);
    other.crash();
    other.advance(0);
    assert_eq!(shown(&other), before);
}

#[test]
fn a_stream_is_closed_until_it_is_whole() {
    let (mut bench, config) = busy();
    let archive = bench.archive("S");
    let mut other = Bench::new();
    let restore = other.begin_restore(config.clone()).expect("begins");
    let half = archive.len() / 2;
    assert_eq!(other.send(&restore, &archive[..half]), Some(Answer::AckProcessed));
    assert!(other.state("S").messages > 0);
    assert_eq!(other.publish("s.1"), "503 s.1");
    assert_eq!(
        other.stream("T", |config| config.subjects = vec!["s.1".into()]).as_deref(),
        Some("400 10065 subjects overlap with an existing stream")
    );
    assert_eq!(
        other.begin_restore(config),
        Err("400 10130 stream name already in use, cannot restore".into())
    );
    // A consumer that comes meanwhile sees all that comes.
    other.durable("S", "early", |_| ());
    assert_eq!(other.send(&restore, &archive[half..]), Some(Answer::AckProcessed));
    assert!(matches!(other.send(&restore, b""), Some(Answer::Restored(Ok(_)))));
    assert_eq!(other.publish("s.1"), "S 301");
    assert_eq!(other.info("S", "early"), "del 0/1 floor 0/1 ackp 0 redel 0 wait 0 pend 297");
    assert!(matches!(other.send(&restore, b"more"), Some(Answer::NoResponders { .. })));
}

#[test]
fn a_client_that_falls_silent_leaves_what_it_sent() {
    let (mut bench, config) = busy();
    let archive = bench.archive("S");
    let mut other = Bench::new();
    let restore = other.begin_restore(config).expect("begins");
    assert_eq!(other.send(&restore, &archive[..archive.len() / 2]), Some(Answer::AckProcessed));
    other.advance(4_999);
    assert_eq!(other.publish("s.1"), "503 s.1");
    assert_eq!(told(&other.advance(1)), Vec::<String>::new());
    assert!(matches!(other.send(&restore, b""), Some(Answer::NoResponders { .. })));
    assert!(other.publish("s.1").starts_with("S "));
    // The same after a crash, without waiting.
    let mut crashed = Bench::new();
    let restore = crashed.begin_restore(bench.config("S")).expect("begins");
    crashed.send(&restore, &archive[..archive.len() / 2]);
    crashed.crash();
    assert!(crashed.publish("s.1").starts_with("S "));
    assert_eq!(crashed.deadline_of_archives(), None);
}

impl Bench {
    fn deadline_of_archives(&self) -> Option<Mono> {
        let due = self.broker.deadline();
        due.filter(|(_, timer)| *timer == super::super::Timer::Archiving).map(|(at, _)| at)
    }
}

#[test]
fn a_window_is_never_exceeded_and_silence_ends_it() {
    let (mut bench, _) = busy();
    bench.hear("deliver");
    let first = bench.begin_snapshot("S", 1024, 3 * 1024);
    let replies: Vec<&String> = first
        .iter()
        .filter_map(|piece| match piece {
            Piece::Chunk(reply, payload) => {
                assert_eq!(payload.len(), 1024);
                reply.as_ref()
            }
            Piece::End(_) => None,
        })
        .collect();
    assert_eq!((first.len(), replies.len()), (3, 3));
    assert!(replies[2].starts_with("$JS.SNAPSHOT.ACK.S.") && replies[2].ends_with(".1024.3"), "{replies:?}");
    bench.advance(4_000);
    assert_eq!(bench.ack_chunk(replies[0]).len(), 1);
    // The five seconds begin anew.
    assert_eq!(pieces(&bench.advance(4_999)), []);
    let last = bench.advance(1);
    assert_eq!(pieces(&last), [Piece::End(SnapshotEnd::NoFlowResponse)]);
    assert_eq!(told(&last), ["STREAM.SNAPSHOT_COMPLETE.S"]);
    assert_eq!(bench.ack_chunk(replies[1]), []);
}

#[test]
fn a_snapshot_waits_for_its_listener_and_ends_with_him() {
    let (mut bench, _) = busy();
    assert_eq!(bench.begin_snapshot("S", 1024, 2048), []);
    bench.advance(1_000);
    bench.hear("elsewhere");
    assert_eq!(pieces(&bench.advance(0)), []);
    let mut effects = bench.turn(vec![Input::InterestGained { subject: "deliver".into(), group: None }]);
    effects.extend(bench.advance(0));
    assert_eq!(pieces(&effects).len(), 2);
    let mut effects = bench.turn(vec![Input::Abandoned { inbox: "deliver".into() }]);
    effects.extend(bench.advance(0));
    assert_eq!(pieces(&effects), [Piece::End(SnapshotEnd::NoInterest)]);
    // Whoever never comes is sent it all the same.
    assert_eq!(bench.begin_snapshot("S", 1024, 2048), []);
    assert_eq!(pieces(&bench.advance(1_999)), []);
    assert_eq!(pieces(&bench.advance(1)).len(), 2);
}

#[test]
fn a_snapshot_does_not_outlive_its_stream() {
    let (mut bench, _) = busy();
    bench.hear("deliver");
    let first = bench.begin_snapshot("S", 1024, 1024);
    bench.request(Request::StreamDelete { stream: "S".into() });
    bench.stream("S", |_| ());
    let Piece::Chunk(Some(reply), _) = &first[0] else { panic!("{first:?}") };
    let next = bench.ack_chunk(reply);
    assert!(matches!(&next[..], [Piece::End(SnapshotEnd::Failed(_))]), "{next:?}");
}

#[test]
fn what_is_published_meanwhile_is_not_in_it() {
    let (mut bench, config) = busy();
    bench.hear("deliver");
    let mut coming: std::collections::VecDeque<_> = bench.begin_snapshot("S", 1024, 1024).into();
    bench.publish("s.new");
    bench.delete_message("S", 299);
    let mut archive = Vec::new();
    while let Some(Piece::Chunk(reply, payload)) = coming.pop_front() {
        archive.extend_from_slice(&payload);
        coming.extend(reply.iter().flat_map(|reply| bench.ack_chunk(reply)));
    }
    let mut other = Bench::new();
    assert_eq!(other.restore(config, &archive, 1_000), Ok(()));
    assert!(other.show("S").contains(" 2..300 "), "{}", other.show("S"));
    assert_eq!(other.get("S", MessageBy::Seq(299)), Err("404 10037 no message found".into()));
}

#[test]
fn a_bomb_does_not_go_off_in_one_step() {
    // A message of four MiB of the same byte takes next to nothing on the way.
    let mut writer = Writer::new();
    let state = r#"{"messages":900,"bytes":0,"first_seq":1,"last_seq":900,"consumer_count":0}"#;
    writer.add("state.json", 1, 0, &[], state.as_bytes());
    for seq in 1..=64 {
        writer.add("s.a", 1, seq, &[], &[0; 1 << 20]);
    }
    writer.end();
    let archive = writer.take(writer.ready());
    assert!(archive.len() < 4 << 20, "{}", archive.len());
    let mut bench = Bench::new();
    let restore = bench.begin_restore(StreamConfig::new("S", &["s.>"])).expect("begins");
    let reply = Some("r".to_owned());
    let input = Input::RestoreChunk { restore: restore.clone(), reply, payload: archive };
    let mut stored = 0;
    let mut effects = bench.turn(vec![input]);
    while effects.is_empty() {
        let now = bench.state("S").messages;
        assert!(now <= stored + 2, "{stored} and then {now} in one turn");
        stored = now;
        effects = bench.turn(Vec::new());
    }
    assert!(matches!(bench.send(&restore, b""), Some(Answer::Restored(Ok(_)))));
    assert_eq!(bench.state("S").messages, 64);
}

#[test]
fn pieces_that_pile_up_are_bounded() {
    let mut bench = Bench::new();
    let restore = bench.begin_restore(StreamConfig::new("S", &["s.>"])).expect("begins");
    let piece = || Input::RestoreChunk {
        restore: restore.clone(),
        reply: Some("r".to_owned()),
        payload: Bytes::from(vec![0; 1 << 20]),
    };
    // All in one turn: none is read before the next one comes.
    let inputs = (0..40).map(|_| piece()).collect();
    bench.turn(inputs);
    bench.advance(0);
    let Some(Answer::Restored(Err(error))) = bench.send(&restore, b"") else { panic!("no answer") };
    assert_eq!(error.err_code, 10_062);
}

#[test]
fn nobody_runs_more_than_so_many_at_a_time() {
    let mut bench = Bench::new();
    for _ in 0..64 {
        bench.begin_restore(StreamConfig::new("S", &["s.>"])).expect("begins");
    }
    let refused = bench.begin_restore(StreamConfig::new("S", &["s.>"])).expect_err("is refused");
    assert!(refused.starts_with("500 10062 "), "{refused}");
    bench.advance(5_000);
    assert!(bench.begin_restore(StreamConfig::new("S", &["s.>"])).is_ok());
}

#[test]
fn limits_of_the_new_stream_apply() {
    let (mut bench, config) = busy();
    let archive = bench.archive("S");
    let restored = |change: &dyn Fn(&mut StreamConfig)| {
        let mut other = Bench::new();
        let mut config = config.clone();
        change(&mut config);
        let restored = other.restore(config, &archive, 3_000);
        (restored, other.broker.machine().stream("S").map(|info| (info.state.messages, info.state.last_seq)))
    };
    assert_eq!(restored(&|own| own.max_msgs = 10), (Ok(()), Some((10, 300))));
    assert_eq!(restored(&|own| own.max_msgs_per_subject = 1), (Ok(()), Some((7, 300))));
    assert_eq!(
        restored(&|own| (own.max_msgs, own.discard) = (10, super::super::api::Discard::New)),
        (Ok(()), Some((296, 300)))
    );
    let (refused, _) = restored(&|own| own.max_msg_size = 50);
    assert_eq!(
        refused,
        Err("500 10062 restore failed: message sequence 2 exceeds maximum message size".into())
    );
    let (refused, left) = restored(&|own| own.max_consumers = 1);
    let why = "failed to add consumer \"last\": maximum consumers limit reached (10026)";
    assert_eq!(refused, Err(format!("500 10062 restore failed: {why}")));
    assert_eq!(left, Some((0, 1)));
}

#[test]
fn messages_that_have_lived_are_passed_over() {
    let mut bench = Bench::new();
    bench.stream("S", |config| config.allow_msg_ttl = true);
    bench.publish_with("s.a", "x", &[("Nats-TTL", "10")]);
    bench.publish_with("s.b", "x", &[("Nats-TTL", "1h")]);
    bench.publish_with("s.c", "x", &[("Nats-TTL", "10")]);
    let (config, archive) = (bench.config("S"), bench.archive("S"));
    let mut other = Bench::new();
    other.advance(11_000);
    assert_eq!(other.restore(config, &archive, 3_000), Ok(()));
    assert!(other.show("S").ends_with("2..3 1"), "{}", other.show("S"));
    other.advance(3_600_000);
    assert!(other.show("S").ends_with("4..3 0"), "{}", other.show("S"));
}
