//! The shell, over a machine of its own and over one of the core.

use super::*;
use crate::settings::{NodeKind, Said, Settings};
use crate::telemetry::attention::tests::lines;
use cloudlysis_core::aggregate::{Aggregate, Config, Effect, Input};
use cloudlysis_core::{Cx, Mark, Table, Tick, View};
use cloudlysis_io_nats::store::MapSize;
use std::collections::BTreeMap;

/// Does as it is told, and keeps nothing in memory.
struct Clerk;

struct Written;

enum Order {
    /// Writes a row of this many bytes.
    Write(usize),
    /// Leaves something for a person.
    Park,
    /// Does what no machine should.
    Panic,
    Nothing,
}

impl From<Tick> for Order {
    fn from(_: Tick) -> Self {
        Self::Nothing
    }
}

impl Machine for Clerk {
    type Config = ();
    type Input = Order;
    type Effect = Written;
    type Timer = ();
    type Durable = ();

    fn recover((): (), _: u64, _: &dyn View) -> Result<Self, Halt> {
        Ok(Self)
    }

    fn handle(&mut self, _: Now, order: Order, cx: &mut Cx<'_, Order, Written>) -> Result<(), Halt> {
        match order {
            Order::Write(bytes) => {
                cx.put(Table::View, b"row", &vec![0; bytes]);
                cx.emit(Written);
            }
            Order::Park => cx.mark(Mark::EffectParked),
            Order::Panic => panic!("no machine should do {}", "this"),
            Order::Nothing => {}
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, ())> {
        None
    }

    fn durable(&self) {}

    fn check(&self, _: &dyn View) -> Result<(), Halt> {
        Ok(())
    }
}

/// What its edge hears of a clerk.
#[derive(PartialEq, Debug)]
enum Heard {
    Recovered,
    Written,
}

struct Desk(std::sync::mpsc::Sender<Heard>);

impl Edge<Clerk> for Desk {
    fn perform(&mut self, Written: Written) {
        self.0.send(Heard::Written).expect("the test listens");
    }
    fn recovered(&mut self) {
        self.0.send(Heard::Recovered).expect("the test listens");
    }
    fn observe(&self, _: &Clerk, _: &Figures) {}
    fn not_ready(&self, _: &Clerk) -> Vec<String> {
        Vec::new()
    }
    fn stopped(_: u64) -> Order {
        Order::Nothing
    }
    fn drained(&mut self) -> Option<Report> {
        None
    }
}

fn clerk(store: HeedStore, commits: Commits) -> (Partition<Order>, std::sync::mpsc::Receiver<Heard>) {
    let (desk, heard) = std::sync::mpsc::channel();
    let parts = Parts { name: "clerk", store, commits, config: || () };
    (start::<Clerk, _>(parts, mpsc::channel(INPUTS_MAX), Desk(desk)).expect("a thread"), heard)
}

async fn status_of(partition: &mut Partition<Order>, wanted: impl FnMut(&Status) -> bool) -> Status {
    let status = tokio::time::timeout(Duration::from_secs(20), partition.status.wait_for(wanted)).await;
    status.expect("in time").expect("the partition says so").clone()
}

#[tokio::test]
async fn a_partition_whose_thread_panics_is_halted_and_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
    let snapshots = store.snapshots();
    let (mut partition, heard) = clerk(store, Commits::Journaled);
    assert_eq!(heard.recv(), Ok(Heard::Recovered));
    partition.inputs.send(Order::Write(7)).await.expect("it takes orders");
    assert_eq!(heard.recv(), Ok(Heard::Written));
    partition.inputs.send(Order::Panic).await.expect("it takes orders");
    let status = status_of(&mut partition, |status| status.halted.is_some()).await;
    let why = "the partition's thread panicked: no machine should do this";
    assert_eq!(status.halted.as_deref(), Some(why));
    assert_eq!(status.not_ready, [format!("halted: {why}")]);
    assert_eq!(heard.recv(), Ok(Heard::Recovered), "whoever waits for an answer hears that there is none");
    assert!(partition.inputs.is_closed(), "and nobody waits from then on");
    partition.join();
    let row = snapshots.read(|view| view.get(Table::View, b"row").map(|row| row.is_some()));
    assert_eq!(row, Ok(Ok(true)), "what was committed can be looked at");
}

#[test]
fn what_waits_for_a_person_is_said_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
    let mut driver =
        Driver::<Clerk>::recover((), &mut store, Checks::EveryTurn, Quirks::NONE).expect("recovers");
    let begun = driver.marks().clone();
    for order in [Order::Park, Order::Write(7), Order::Park] {
        drop(driver.turn(&mut store, Clock::default().now(), [order]).expect("a turn"));
    }
    let written = lines(|| {
        attention::for_a_person("clerk", &begun, driver.marks());
        attention::for_a_person("clerk", driver.marks(), driver.marks());
    });
    let [line] = &written[..] else { panic!("{written:?}") };
    assert!(line.contains("WARN") && line.contains("times=2"), "{line}");
    assert!(line.contains("waits for a person: see `effect ls --stage parked`"), "{line}");
}

#[tokio::test]
async fn a_store_that_refused_is_at_fault_until_it_has_stored_something() {
    let dir = tempfile::tempdir().expect("a directory");
    let map = MapSize { initial_bytes: 1 << 20, max_bytes: 1 << 20 };
    let (mut partition, heard) = clerk(HeedStore::open(dir.path(), map).expect("opens"), Commits::Each);
    assert_eq!(heard.recv(), Ok(Heard::Recovered));
    partition.inputs.send(Order::Write(4 << 20)).await.expect("it takes orders");
    let status = status_of(&mut partition, |status| status.store_fault.is_some()).await;
    assert!(status.store_fault.is_some_and(|fault| fault.contains("full")));
    assert_eq!(heard.recv(), Ok(Heard::Recovered));
    let soon = Duration::from_millis(500);
    let well = tokio::time::timeout(soon, partition.status.wait_for(|status| status.store_fault.is_none()));
    assert!(well.await.is_err(), "that it began again says nothing about what was refused");
    partition.inputs.send(Order::Write(7)).await.expect("it takes orders");
    assert_eq!(heard.recv(), Ok(Heard::Written));
    status_of(&mut partition, |status| status.store_fault.is_none()).await;
    partition.join();
}

#[tokio::test]
async fn a_partition_whose_store_refuses_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
    // Nothing can be made durable where the journal should be.
    std::fs::remove_file(dir.path().join("journal")).ok();
    std::fs::create_dir(dir.path().join("journal")).expect("a directory");
    let (mut partition, _heard) = clerk(store, Commits::Journaled);
    status_of(&mut partition, |status| status.store_fault.is_some()).await;
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        partition.join();
        ended.send(()).expect("the test waits");
    });
    end.recv_timeout(Duration::from_secs(10)).expect("it ends");
}

struct Nowhere;

impl Edge<Aggregate> for Nowhere {
    fn perform(&mut self, _: Effect) {}
    fn recovered(&mut self) {}
    fn observe(&self, _: &Aggregate, _: &Figures) {}
    fn not_ready(&self, _: &Aggregate) -> Vec<String> {
        Vec::new()
    }
    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }
    fn drained(&mut self) -> Option<Report> {
        None
    }
}

#[test]
fn the_first_deadline_counts() {
    let stop = Stop::default();
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
    assert_eq!(stop.by(later), later);
    assert_eq!(stop.by(now), later);
}

#[tokio::test]
async fn a_partition_that_is_not_recovered_yet_is_not_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let settings = Settings::load(NodeKind::Aggregate, &Said::default()).expect("defaults");
    let config = move || {
        wait.recv().expect("the test says go");
        Config {
            definitions: BTreeMap::new(),
            limits: settings.aggregate_limits(),
            gas_max: cloudlysis_core::program::GAS_MAX_DEFAULT,
            seed: 0,
            quirks: Quirks::NONE,
        }
    };
    let parts = Parts { name: "aggregate", store, commits: Commits::Journaled, config };
    let mut partition = start::<Aggregate, _>(parts, mpsc::channel(INPUTS_MAX), Nowhere).expect("a thread");
    assert_eq!(partition.status.borrow().not_ready, ["starting"]);
    go.send(()).expect("the partition is starting");
    let ready = partition.status.wait_for(|status| status.not_ready.is_empty()).await.is_ok();
    assert!(ready, "recovered");
    partition.join();
}
