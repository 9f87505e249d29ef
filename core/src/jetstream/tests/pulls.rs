//! Pull requests and how they end, as `p03_consumer.py` and `p08.py` saw it.

use super::super::api::PullRequest;
use super::super::{Answer, ConsumerAction, Input, Request};
use super::{Bench, LIMITS, MS, S, deliveries, durable, no_wait, seen, waiting};
use crate::jetstream::Limits;

fn with_heartbeat(expires_ns: u64, idle_heartbeat_ns: u64) -> PullRequest {
    PullRequest { idle_heartbeat_ns, ..waiting(3, expires_ns) }
}

#[test]
fn an_empty_stream() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.durable("P", "c", |_| {});
    assert_eq!(bench.fetch("P", "c", 1), ["404 No Messages"]);
    let one_shot = PullRequest { no_wait: true, ..waiting(1, 300 * MS) };
    assert_eq!(bench.pull("P", "c", one_shot.clone(), 299), [""; 0]);
    assert_eq!(bench.pull("P", "c", one_shot, 500), ["408 Request Timeout 1/0"]);
    assert_eq!(bench.pull("P", "c", waiting(3, 300 * MS), 800), ["408 Request Timeout 3/0"]);
    let heartbeat = "100 Idle Heartbeat 0/0";
    assert_eq!(
        bench.pull("P", "c", with_heartbeat(700 * MS, 200 * MS), 1200),
        [heartbeat, heartbeat, heartbeat, "408 Request Timeout 3/0"]
    );
    let too_large = ["400 Bad Request - heartbeat value too large"];
    assert_eq!(bench.pull("P", "c", with_heartbeat(300 * MS, 200 * MS), 500), too_large);
    assert_eq!(bench.pull("P", "c", with_heartbeat(0, 200 * MS), 500), too_large);
    assert_eq!(
        bench.pull("P", "c", with_heartbeat(400 * MS, 200 * MS), 500),
        [heartbeat, "408 Request Timeout 3/0"]
    );
    assert_eq!(bench.pull("P", "nope", waiting(1, 300 * MS), 500), ["503"]);
    assert_eq!(bench.pull("Q", "c", waiting(1, 300 * MS), 500), ["503"]);
}

#[test]
fn without_wait_it_ends_where_the_messages_end() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.durable("P", "c", |_| {});
    bench.publish_many("p.a", 5);
    assert_eq!(
        bench.fetch("P", "c", 10),
        ["1.1.1 4", "1.2.2 3", "1.3.3 2", "1.4.4 1", "1.5.5 0", "404 No Messages"]
    );
    assert_eq!(bench.info("P", "c"), "del 5/5 floor 0/0 ackp 5 redel 0 wait 0 pend 0");
    // With an expiry it still ends with the first end it comes to, if it got something.
    bench.durable("P", "d", |_| {});
    let one_shot = PullRequest { no_wait: true, ..waiting(7, S) };
    assert_eq!(bench.pull("P", "d", one_shot.clone(), 0).last().map(String::as_str), Some("404 No Messages"));
    let (inbox, _) = bench.start_pull("P", "d", one_shot);
    bench.publish("p.a");
    let effects = bench.advance(0);
    assert_eq!(seen(&effects, &inbox), [""; 0]);
    assert_eq!(bench.info("P", "d"), "del 6/6 floor 0/0 ackp 6 redel 0 wait 0 pend 0");
}

#[test]
fn bytes() {
    let mut bench = Bench::new();
    bench.stream("P2", |_| {});
    bench.durable("P2", "c", |_| {});
    for _ in 0..5 {
        bench.publish_with("p2.a", &"0123456789".repeat(10), &[]);
    }
    let bytes = |batch, max_bytes| PullRequest { max_bytes, ..waiting(batch, 300 * MS) };
    assert_eq!(bench.pull("P2", "c", bytes(10, 50), 600), ["409 Message Size Exceeds MaxBytes 10/50"]);
    assert_eq!(
        bench.pull("P2", "c", bytes(10, 400), 600),
        ["1.1.1 4", "1.2.2 3", "409 Message Size Exceeds MaxBytes 8/112"]
    );
    assert_eq!(bench.pull("P2", "c", bytes(1, 4000), 600), ["1.3.3 2", "409 Batch Completed 0/3856"]);
}

#[test]
fn what_a_consumer_allows() {
    let mut bench = Bench::new();
    bench.stream("P2", |_| {});
    bench.durable("P2", "lim", |config| {
        config.max_batch = 2;
        config.max_expires_ns = S;
        config.max_bytes = 100;
    });
    assert_eq!(bench.pull("P2", "lim", waiting(3, 300 * MS), 0), ["409 Exceeded MaxRequestBatch of 2"]);
    assert_eq!(bench.pull("P2", "lim", waiting(1, 3 * S), 0), ["409 Exceeded MaxRequestExpires of 1s"]);
    let bytes = PullRequest { max_bytes: 1000, ..waiting(1, 300 * MS) };
    assert_eq!(bench.pull("P2", "lim", bytes, 0), ["409 Exceeded MaxRequestMaxBytes of 100"]);
}

#[test]
fn what_the_broker_allows_consumers_to_allow() {
    let mut bench = Bench::with(Limits { request_batch_max: Some(100), ..LIMITS });
    bench.stream("PB", |_| {});
    let batch = |bench: &Bench, name: &str| {
        bench.broker.machine().consumer("PB", name).map(|info| info.config.max_batch)
    };
    for (name, asked, given) in [("a", 0, 100), ("b", 50, 50), ("c", 100, 100), ("d", -1, 100)] {
        bench.durable("PB", name, |config| config.max_batch = asked);
        assert_eq!(batch(&bench, name), Some(given), "{asked}");
    }
    let over = Some("400 10125 consumer max request batch exceeds server limit of 100".to_owned());
    let create = ConsumerAction::CreateOrUpdate;
    assert_eq!(bench.consumer("PB", "e", create, |config| config.max_batch = 101), over);
    assert_eq!(bench.consumer("PB", "a", create, |config| config.max_batch = 101), over);
    // Who is delivered to does not pull.
    bench.durable("PB", "p", |config| {
        (config.max_batch, config.deliver_subject) = (101, Some("push".into()));
    });
    assert_eq!(batch(&bench, "p"), Some(101));
    let pedantic = Request::ConsumerCreate {
        stream: "PB".into(),
        config: Box::new(durable("f")),
        action: ConsumerAction::Create,
        pedantic: true,
    };
    let why = "400 10157 pedantic mode: max_request_batch must be set if it's JetStream limits are set";
    assert_eq!(bench.error(pedantic).as_deref(), Some(why));
    assert_eq!(bench.pull("PB", "a", waiting(101, 300 * MS), 0), ["409 Exceeded MaxRequestBatch of 100"]);
}

#[test]
fn only_so_many_wait() {
    let mut bench = Bench::new();
    bench.stream("PW", |_| {});
    bench.durable("PW", "w", |config| config.max_waiting = 1);
    bench.start_pull("PW", "w", waiting(1, 2 * S));
    assert_eq!(bench.pull("PW", "w", waiting(1, 2 * S), 0), ["409 Exceeded MaxWaiting"]);
    assert_eq!(bench.pull("PW", "w", with_heartbeat(2 * S, 500 * MS), 0), [""; 0]);
    assert_eq!(bench.info("PW", "w"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 1 pend 0");
    // One that has expired makes room.
    bench.now.mono = bench.now.mono.plus_ms(2000);
    let (inbox, effects) = bench.start_pull("PW", "w", waiting(1, 2 * S));
    assert_eq!(seen(&effects, &inbox), [""; 0]);
    assert_eq!(bench.info("PW", "w"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 1 pend 0");
}

#[test]
fn deleting_tells_who_waits() {
    let mut bench = Bench::new();
    for delete_stream in [false, true] {
        bench.stream("PS", |_| {});
        bench.durable("PS", "w", |_| {});
        let (inbox, _) = bench.start_pull("PS", "w", waiting(1, 2 * S));
        let (stream, consumer, reply) = ("PS".to_owned(), "w".to_owned(), "x".to_owned());
        let request = if delete_stream {
            Request::StreamDelete { stream }
        } else {
            Request::ConsumerDelete { stream, consumer }
        };
        let effects = bench.turn(vec![Input::Requested { reply, request }]);
        assert_eq!(seen(&effects, &inbox), ["409 Consumer Deleted"]);
        assert_eq!(bench.info("PS", "w"), "gone");
    }
    let missing = Request::ConsumerDelete { stream: "PS".into(), consumer: "zz".into() };
    assert_eq!(bench.error(missing).as_deref(), Some("404 10059 stream not found"));
}

#[test]
fn pulls_are_served_in_turn() {
    let mut bench = Bench::new();
    bench.stream("TP", |_| {});
    bench.durable("TP", "c", |_| {});
    let (a, _) = bench.start_pull("TP", "c", waiting(3, S));
    let (b, _) = bench.start_pull("TP", "c", waiting(3, S));
    let mut effects = Vec::new();
    for _ in 0..6 {
        let publish = crate::jetstream::Publish {
            subject: "tp.a".into(),
            reply: None,
            headers: crate::wire::header_block::HeaderBlock::NONE,
            payload: "x".into(),
        };
        effects.extend(bench.turn(vec![Input::Published(publish)]));
    }
    assert_eq!(seen(&effects, &a), ["1.1.1 0", "1.3.3 0", "1.5.5 0"]);
    assert_eq!(seen(&effects, &b), ["1.2.2 0", "1.4.4 0", "1.6.6 0"]);
}

#[test]
fn one_that_cannot_take_the_next_message_gives_way() {
    let mut bench = Bench::new();
    bench.stream("M", |_| {});
    bench.durable("M", "c", |_| {});
    let (a, _) = bench.start_pull("M", "c", PullRequest { max_bytes: 50, ..waiting(5, S) });
    let (b, _) = bench.start_pull("M", "c", waiting(2, S));
    let publish = |_| {
        let (subject, payload) = ("m.a".to_owned(), "x".into());
        let headers = crate::wire::header_block::HeaderBlock::NONE;
        Input::Published(crate::jetstream::Publish { subject, reply: None, headers, payload })
    };
    let effects = bench.turn((0..3).map(publish).collect());
    assert_eq!(seen(&effects, &a), ["1.1.1 0", "409 Message Size Exceeds MaxBytes 4/7"]);
    assert_eq!(seen(&effects, &b), ["1.2.2 0", "1.3.3 0"]);
}

#[test]
fn a_stalled_consumer_parks_a_request_that_does_not_wait() {
    let mut bench = Bench::new();
    bench.stream("M", |_| {});
    bench.durable("M", "c", |config| config.max_ack_pending = 2);
    bench.publish_many("m.a", 5);
    assert_eq!(
        bench.pull("M", "c", waiting(5, 500 * MS), 800),
        ["1.1.1 4", "1.2.2 3", "408 Request Timeout 3/0"]
    );
    assert_eq!(bench.info("M", "c"), "del 2/2 floor 0/0 ackp 2 redel 0 wait 0 pend 3");
    assert_eq!(bench.fetch("M", "c", 5), [""; 0]);
    let one_shot = PullRequest { no_wait: true, ..waiting(5, 400 * MS) };
    assert_eq!(bench.pull("M", "c", one_shot, 800), ["408 Requests Pending"]);
}

#[test]
fn a_parked_request_goes_on_when_there_is_room_and_ends_at_the_end() {
    let mut bench = Bench::new();
    bench.stream("Z", |_| {});
    bench.durable("Z", "c", |config| (config.max_ack_pending, config.ack_wait_ns) = (1, 60 * S));
    bench.publish_many("z.a", 2);
    let first = bench.take("Z", "c", 1);
    let (inbox, effects) = bench.start_pull("Z", "c", no_wait(1));
    assert_eq!(seen(&effects, &inbox), [""; 0]);
    bench.delete_message("Z", 2);
    let acked =
        Input::Acked { delivery: first[0].ack.clone(), kind: crate::jetstream::AckKind::Ack, reply: None };
    let effects = bench.turn(vec![acked]);
    assert_eq!(seen(&effects, &inbox), ["404 No Messages"]);
}

#[test]
fn an_inbox_nobody_listens_on_costs_no_message() {
    let mut bench = Bench::new();
    bench.stream("UN", |_| {});
    bench.durable("UN", "c", |_| {});
    let (inbox, _) = bench.start_pull("UN", "c", with_heartbeat(5 * S, S));
    bench.turn(vec![Input::Abandoned { inbox }]);
    bench.publish_many("un.a", 2);
    assert_eq!(bench.info("UN", "c"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 2");
    assert_eq!(bench.fetch("UN", "c", 5), ["1.1.1 1", "1.2.2 0", "404 No Messages"]);
}

#[test]
fn a_step_delivers_a_bounded_number_and_nobody_starves() {
    let mut bench = Bench::with(Limits { deliveries_per_step_max: 2, ..LIMITS });
    bench.stream("B", |_| {});
    for consumer in ["a", "b"] {
        bench.durable("B", consumer, |_| {});
    }
    bench.publish_many("b.a", 6);
    let mut pull = |consumer: &str| {
        let inbox = bench.inbox();
        let (stream, consumer, request) = ("B".to_owned(), consumer.to_owned(), waiting(6, S));
        (inbox.clone(), Input::Pulled { stream, consumer, inbox, request })
    };
    let ((a, pulled_a), (b, pulled_b)) = (pull("a"), pull("b"));
    let effects = bench.turn(vec![pulled_a, pulled_b]);
    let served = |inbox: &str, effects: &[_]| deliveries(effects.to_vec(), inbox).len();
    // Two inputs signal twice and the deadline, due at once, wakes it a third time: six of twelve.
    assert_eq!((served(&a, &effects), served(&b, &effects)), (4, 2));
    let effects = bench.advance(0);
    assert_eq!((served(&a, &effects), served(&b, &effects)), (2, 4));
    assert!(
        matches!(bench.request(Request::StreamList { subject: None, offset: 0 }), Answer::Streams(list) if list.items.len() == 1)
    );
}

#[test]
fn a_heartbeat_names_the_last_delivery() {
    let mut bench = Bench::new();
    bench.stream("H", |_| {});
    bench.durable("H", "c", |_| {});
    bench.publish("h.a");
    assert_eq!(
        bench.pull("H", "c", with_heartbeat(700 * MS, 300 * MS), 650),
        ["1.1.1 0", "100 Idle Heartbeat 1/1", "100 Idle Heartbeat 1/1"]
    );
}

#[test]
fn stopping_in_good_order() {
    let mut bench = Bench::new();
    bench.stream("SD", |_| {});
    bench.durable("SD", "c", |_| {});
    bench.publish("sd.a");
    let (inbox, _) = bench.start_pull("SD", "c", PullRequest { max_bytes: 1000, ..waiting(3, S) });
    let effects = bench.turn(vec![Input::Stopping]);
    let status = seen(&effects, &inbox);
    assert_eq!(status.len(), 1);
    assert!(status[0].starts_with("409 Server Shutdown 2/"), "{status:?}");
    bench.crash();
    bench.advance(0);
    assert_eq!(bench.info("SD", "c"), "del 1/1 floor 0/0 ackp 1 redel 0 wait 0 pend 0");
}
