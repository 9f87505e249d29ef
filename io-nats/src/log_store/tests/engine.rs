//! The broker engine on this store and on LMDB, side by side: the same inputs, the same effects, the same state, also
//! after restarts and kills.

use super::*;
use crate::store::{HeedStore, MapSize};
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, PullRequest, Retention, StreamConfig};
use cloudlysis_core::jetstream::{
    AckKind, AckSubject, ConsumerAction, Effect, Input, JetStream, Publish, Request,
};
use cloudlysis_core::wire::headers::Headers;
use cloudlysis_core::{Checks, Driver, Machine, Mono, Now, Quirks, Wall};
use proptest::prelude::*;

const LIMITS: cloudlysis_core::jetstream::Limits = cloudlysis_core::jetstream::Limits {
    streams_max: 10,
    consumers_per_stream_max: 10,
    messages_per_stream_max: 10_000,
    message_ids_per_stream_max: 10_000,
    message_bytes_max: 1 << 20,
    ack_pending_max: 1_000,
    waiting_max: 64,
    request_batch_max: None,
    deliveries_per_step_max: 16,
    expiries_per_step_max: 16,
    flush_gap_ms: 10,
    replicas_max: 1,
};
/// Kept by number of messages, until one consumer acked, until all did.
const STREAMS: [(&str, Retention); 3] =
    [("log", Retention::Limits), ("work", Retention::Workqueue), ("news", Retention::Interest)];

#[derive(Clone, Debug)]
enum Action {
    Publish {
        stream: usize,
        subject: u8,
        bytes: usize,
    },
    Delete {
        stream: usize,
        seq: u64,
    },
    Purge {
        stream: usize,
        keep: u64,
    },
    Pull {
        stream: usize,
        batch: u64,
    },
    /// Of the deliveries that were not answered.
    Ack {
        which: usize,
    },
    Wait {
        ms: u64,
    },
    Restart {
        is_killed: bool,
    },
}

fn any_action() -> impl Strategy<Value = Action> {
    let stream = 0..STREAMS.len();
    prop_oneof![
        12 => (stream.clone(), 0..4_u8, 0..400_usize)
            .prop_map(|(stream, subject, bytes)| Action::Publish { stream, subject, bytes }),
        2 => (stream.clone(), 1..100_u64).prop_map(|(stream, seq)| Action::Delete { stream, seq }),
        1 => (stream.clone(), 0..20_u64).prop_map(|(stream, keep)| Action::Purge { stream, keep }),
        3 => (stream, 1..10_u64).prop_map(|(stream, batch)| Action::Pull { stream, batch }),
        6 => any::<usize>().prop_map(|which| Action::Ack { which }),
        2 => (1..500_u64).prop_map(|ms| Action::Wait { ms }),
        1 => any::<bool>().prop_map(|is_killed| Action::Restart { is_killed }),
    ]
}

/// One of both.
struct Side<S> {
    dir: tempfile::TempDir,
    store: Option<S>,
    driver: Driver<JetStream>,
}

impl<S: Store> Side<S> {
    fn new(open: impl Fn(&Path) -> S) -> Self {
        let dir = tempdir();
        let mut store = open(dir.path());
        let driver = boot(&mut store);
        Self { dir, store: Some(store), driver }
    }

    fn turn(&mut self, now: Now, inputs: Vec<Input>) -> Vec<Effect> {
        let store = self.store.as_mut().expect("open");
        self.driver.turn(store, now, inputs).expect("a turn").into_effects()
    }

    fn restart(&mut self, open: impl Fn(&Path) -> S, is_killed: bool) {
        let killed = tempdir();
        copy(self.dir.path(), killed.path());
        drop(self.store.take());
        if is_killed {
            self.dir = killed;
        }
        let mut store = open(self.dir.path());
        self.driver = boot(&mut store);
        self.store = Some(store);
    }
}

fn boot<S: Store>(store: &mut S) -> Driver<JetStream> {
    Driver::recover(LIMITS, store, Checks::EveryTurn, Quirks::NONE).expect("recovers")
}

fn open_heed(path: &Path) -> HeedStore {
    HeedStore::open(path, MapSize { initial_bytes: 1 << 20, max_bytes: 1 << 26 }).expect("opens")
}

fn open_log(path: &Path) -> LogStore {
    open(path, SMALL)
}

struct World {
    log: Side<LogStore>,
    heed: Side<HeedStore>,
    now: Now,
    unanswered: Vec<AckSubject>,
}

impl World {
    fn turn(&mut self, inputs: Vec<Input>) {
        let effects = self.log.turn(self.now, inputs.clone());
        assert_eq!(effects, self.heed.turn(self.now, inputs));
        for effect in effects {
            if let Effect::Deliver(delivery) = effect {
                self.unanswered.push(delivery.ack);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            match self.log.driver.deadline() {
                Some((at, _)) if at <= self.now.mono => self.turn(Vec::new()),
                Some(_) | None => return,
            }
        }
        panic!("it never comes to rest");
    }

    fn ask(&mut self, request: Request) {
        self.turn(vec![Input::Requested { reply: "answer".into(), request }]);
    }

    fn act(&mut self, action: Action) {
        let name = |stream: usize| STREAMS[stream].0.to_owned();
        match action {
            Action::Publish { stream, subject, bytes } => self.turn(vec![Input::Published(Publish {
                subject: format!("{}.{subject}", name(stream)),
                reply: Some("answer".into()),
                headers: Headers::default().into(),
                payload: vec![subject; bytes].into(),
            })]),
            Action::Delete { stream, seq } => self.ask(Request::MessageDelete { stream: name(stream), seq }),
            Action::Purge { stream, keep } => self.ask(Request::StreamPurge {
                stream: name(stream),
                filter: None,
                seq: None,
                keep: Some(keep),
            }),
            Action::Pull { stream, batch } => self.turn(vec![Input::Pulled {
                stream: name(stream),
                consumer: "reader".into(),
                inbox: "inbox".into(),
                request: PullRequest { batch, no_wait: true, ..PullRequest::default() },
            }]),
            Action::Ack { which } if !self.unanswered.is_empty() => {
                let delivery = self.unanswered.swap_remove(which % self.unanswered.len());
                self.turn(vec![Input::Acked { delivery, kind: AckKind::Ack, reply: None }]);
            }
            Action::Ack { .. } => {}
            Action::Wait { ms } => {
                self.now.mono = self.now.mono.plus_ms(ms);
                self.now.wall = Wall::from_ms(self.now.wall.as_ms() + ms);
                self.log.store.as_mut().expect("open").maintain().expect("maintained");
            }
            Action::Restart { is_killed } => {
                // What a flush has not written yet is lost on both sides alike.
                self.log.restart(open_log, is_killed);
                self.heed.restart(open_heed, is_killed);
                self.now.mono = Mono::ZERO;
                self.unanswered.clear();
            }
        }
        self.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_engine_does_not_notice_where_it_writes(actions in prop::collection::vec(any_action(), 1..250)) {
        let mut world = World {
            log: Side::new(open_log),
            heed: Side::new(open_heed),
            now: Now { mono: Mono::ZERO, wall: Wall::from_ms(1_795_231_870_000) },
            unanswered: Vec::new(),
        };
        for (name, retention) in STREAMS {
            let mut config = StreamConfig::new(name, &[&format!("{name}.>")]);
            config.retention = retention;
            config.max_msgs = 60;
            world.ask(Request::StreamCreate { config: Box::new(config), pedantic: false });
            let config = ConsumerConfig {
                durable_name: Some("reader".into()),
                ack_policy: AckPolicy::Explicit,
                ..ConsumerConfig::default()
            };
            let action = ConsumerAction::CreateOrUpdate;
            world.ask(Request::ConsumerCreate { stream: name.into(), config: Box::new(config), action, pedantic: false });
        }
        for action in actions {
            world.act(action);
        }
        prop_assert_eq!(world.log.driver.machine().durable(), world.heed.driver.machine().durable());
    }
}
