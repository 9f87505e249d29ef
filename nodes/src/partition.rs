//! The shell of a partition: one thread, one store, one driver.
//!
//! ```text
//!   facts ─► bounded channel ─► [ wait for input or deadline ─► turn (one commit) ─► perform what was released ] ─► …
//!                                         ▲                           │ halt
//!                                         └──── recover from store ◄──┤ recoverable
//!                                                    stop, not ready ◄┘ fenced, corrupt, broken
//! ```
//!
//! The thread runs a current-thread runtime only to wait; the turn itself is a plain call. What the edges do for
//! released effects runs on the process's shared runtime and comes back as facts through the same channel.
//!
//! Between turns the store's [`Writer`] may be ahead of what readers see: it catches up when one asks, when the partition
//! has nothing to do, and when the machine ends.

use crate::telemetry;
use cloudlysis_core::drain::Report;
use cloudlysis_core::{Checks, Driver, Halt, Machine, Mono, Now, Quirks, StoreFault};
use cloudlysis_io_nats::clock::Clock;
use cloudlysis_io_nats::store::{Commits, Figures, HeedStore, Writer};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Facts that may wait for a partition. Everything that sends is bounded by itself; this bounds them together.
pub const INPUTS_MAX: usize = 4096;
/// Facts handled under one commit.
const TURN_INPUTS_MAX: usize = 512;
/// How often the figures for metrics are refreshed.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(250);
/// How long a partition that has nothing to do leaves in its journal what readers want to see.
const IDLE_BEHIND: Duration = Duration::from_millis(5);
/// Pause before recovering again, so that a store that keeps failing is not hammered.
const RECOVER_PAUSE: Duration = Duration::from_secs(1);

/// What the rest of the process may know about a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Why it does not take work; empty when it does.
    pub not_ready: Vec<String>,
    /// Why it stopped for good.
    pub halted: Option<String>,
    /// The store refuses to be written.
    pub store_fault: Option<String>,
    /// How its drain ended.
    pub drained: Option<Report>,
}

impl Status {
    /// Before its machine is recovered nobody knows whether it takes work: that is no reason to say it does.
    fn starting() -> Self {
        Self { not_ready: vec!["starting".to_owned()], halted: None, store_fault: None, drained: None }
    }
}

/// Performs what a machine asks for.
pub trait Edge<M: Machine>: Send + 'static {
    /// Performs one released effect; what comes of it is sent back as a fact.
    fn perform(&mut self, effect: M::Effect);

    /// The machine was recovered: whoever waits for the one before waits in vain.
    fn recovered(&mut self);

    /// Reads figures off the machine: for metrics, now and then.
    fn observe(&self, machine: &M, store: &Figures);

    /// Why the machine does not take work.
    fn not_ready(&self, machine: &M) -> Vec<String>;

    /// The fact that the node is to stop.
    fn stopped(deadline_ms: u64) -> M::Input;

    /// A finished drain, once.
    fn drained(&mut self) -> Option<Report>;
}

/// Tells a partition to take nothing in any more, and to finish by a deadline. The first to say so sets the deadline.
#[derive(Clone, Debug, Default)]
pub struct Stop(watch::Sender<Option<Instant>>);

impl Stop {
    /// Says so; the deadline that counts.
    pub fn by(&self, deadline: Instant) -> Instant {
        self.0.send_if_modified(|stop| stop.replace(stop.unwrap_or(deadline)).is_none());
        self.0.borrow().unwrap_or(deadline)
    }
}

/// Asks a partition to go on from its store under another configuration.
pub struct Reload {
    /// When what is in flight is not waited for any longer.
    pub deadline: Instant,
    /// Puts the other configuration in place, between the end of one machine and the recovery of the next.
    pub swap: Box<dyn FnOnce() + Send>,
    /// Hears how the machine before ended. Dropped when it is not to be: the node drains, or the machine halted.
    pub done: oneshot::Sender<Report>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A running partition.
#[derive(Debug)]
pub struct Partition<I> {
    /// Where facts go.
    pub inputs: mpsc::Sender<I>,
    /// How it is drained.
    pub stop: Stop,
    /// How it is brought to another configuration.
    pub reloads: mpsc::Sender<Reload>,
    /// What is known about it.
    pub status: watch::Receiver<Status>,
    thread: JoinHandle<()>,
}

impl<I> Partition<I> {
    /// Waits for the thread to end; it ends when every sender is gone.
    pub fn join(self) {
        drop(self.inputs);
        if self.thread.join().is_err() {
            tracing::error!("a partition's thread panicked");
        }
    }
}

/// What a partition is made of.
#[derive(Debug)]
pub struct Parts<C> {
    /// For the thread's name, logs and metrics.
    pub name: &'static str,
    /// Its store.
    pub store: HeedStore,
    /// How its turns become durable.
    pub commits: Commits,
    /// Makes the machine's configuration, at every recovery.
    pub config: C,
}

/// Starts a partition. The channel is made by the caller, because edges need its sender.
///
/// # Errors
/// When the thread cannot be started.
pub fn start<M, E>(
    parts: Parts<impl Fn() -> M::Config + Send + 'static>,
    inputs: (mpsc::Sender<M::Input>, mpsc::Receiver<M::Input>),
    edge: E,
) -> std::io::Result<Partition<M::Input>>
where
    M: Machine + 'static,
    M::Input: Send + 'static,
    E: Edge<M>,
{
    let (sender, receiver) = inputs;
    let (status, watched) = watch::channel(Status::starting());
    let stop = Stop::default();
    let stopping = stop.0.subscribe();
    let (reloads, reloaded) = mpsc::channel(1);
    let name = parts.name;
    let thread = std::thread::Builder::new().name(format!("partition-{name}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(
                Shell::<M, E, _> {
                    name,
                    commits: parts.commits,
                    config: parts.config,
                    inputs: receiver,
                    status,
                    stop: stopping,
                    reloads: reloaded,
                    reload: None,
                    edge,
                    clock: Clock::default(),
                }
                .run(parts.store),
            ),
            Err(error) => tracing::error!(partition = name, %error, "no runtime"),
        }
    })?;
    Ok(Partition { inputs: sender, stop, reloads, status: watched, thread })
}

struct Shell<M: Machine, E, C> {
    name: &'static str,
    commits: Commits,
    config: C,
    inputs: mpsc::Receiver<M::Input>,
    status: watch::Sender<Status>,
    /// When a drain must be over, once somebody wants one. A machine that is recovered meanwhile is told again.
    stop: watch::Receiver<Option<Instant>>,
    reloads: mpsc::Receiver<Reload>,
    /// The one under way: the machine drains for it.
    reload: Option<Reload>,
    edge: E,
    clock: Clock,
}

/// Why the loop over turns ended.
enum Ended {
    /// Nobody sends any more.
    Closed,
    /// Another configuration is in place.
    Reloaded,
    /// The machine must be recovered, or is stopped for good.
    Halted(Halt),
}

impl<M: Machine, E: Edge<M>, C: Fn() -> M::Config> Shell<M, E, C> {
    /// Lives: recovers, runs turns, recovers again after what recovery may help against.
    async fn run(mut self, mut store: HeedStore) {
        loop {
            let checks = if cfg!(debug_assertions) { Checks::EveryTurn } else { Checks::InHandlersOnly };
            let figures = store.figures();
            let mut writer = store.writer(self.commits);
            let ended = match Driver::<M>::recover((self.config)(), &mut writer, checks, Quirks::NONE) {
                Ok(driver) => {
                    self.edge.recovered();
                    self.turns(driver, &mut writer, &figures).await
                }
                Err(halt) => Ended::Halted(halt),
            };
            // Whoever reads on, or opens the directory with an earlier release, need not wait for the next machine.
            if let Err(fault) = writer.checkpoint() {
                tracing::warn!(partition = self.name, %fault, "what was committed stays in the journal");
            }
            drop(writer);
            // A machine that halted did not drain: whoever wanted to reload hears of it, and the old definitions go on.
            self.reload = None;
            match ended {
                Ended::Closed => return,
                Ended::Reloaded => {
                    tracing::info!(partition = self.name, "recovering under other definitions")
                }
                Ended::Halted(halt) if halt.is_recoverable() => {
                    tracing::warn!(partition = self.name, %halt, "recovering from the store");
                    telemetry::partition_recovered(self.name);
                    self.make_room(&mut store, &halt);
                    self.status.send_modify(|status| status.store_fault = Some(halt.to_string()));
                    tokio::time::sleep(RECOVER_PAUSE).await;
                }
                Ended::Halted(halt) => return self.stay_halted(&halt).await,
            }
        }
    }

    fn make_room(&self, store: &mut HeedStore, halt: &Halt) {
        if matches!(halt, Halt::Store(StoreFault::Full)) {
            match store.grow() {
                Ok(true) => {}
                Ok(false) => tracing::error!(partition = self.name, "the map is full and at its limit"),
                Err(error) => tracing::error!(partition = self.name, %error, "the map cannot grow"),
            }
        }
    }

    /// Stopped for good: says why, and lets senders know by taking nothing.
    async fn stay_halted(mut self, halt: &Halt) {
        tracing::error!(partition = self.name, %halt, "stopped");
        self.edge.recovered();
        self.status.send_modify(|status| {
            status.halted = Some(halt.to_string());
            status.not_ready = vec![format!("halted: {halt}")];
        });
        self.inputs.close();
        while self.inputs.recv().await.is_some() {}
    }

    async fn turns(&mut self, mut driver: Driver<M>, store: &mut Writer<'_>, figures: &Figures) -> Ended {
        let mut inputs = Vec::with_capacity(TURN_INPUTS_MAX);
        let mut told_to_stop = false;
        let mut observed = Instant::now().checked_sub(OBSERVE_INTERVAL).unwrap_or_else(Instant::now);
        loop {
            if observed.elapsed() >= OBSERVE_INTERVAL {
                observed = Instant::now();
                self.edge.observe(driver.machine(), figures);
                telemetry::marks(self.name, driver.marks());
            }
            let drained = self.edge.drained();
            if let Some((report, reload)) = drained.zip(self.reload.take_if(|_| drained.is_some())) {
                (reload.swap)();
                // An error means that nobody waits for it any more.
                let _ = reload.done.send(report);
                return Ended::Reloaded;
            }
            self.publish_status(&driver, drained);
            if store.is_asked()
                && let Err(fault) = store.checkpoint()
            {
                return Ended::Halted(fault.into());
            }
            inputs.clear();
            let asleep = Instant::now();
            if !self.wait(&driver, store, observed, &mut inputs).await {
                return Ended::Closed;
            }
            if inputs.is_empty()
                && store.is_behind()
                && asleep.elapsed() >= IDLE_BEHIND
                && let Err(fault) = store.checkpoint()
            {
                return Ended::Halted(fault.into());
            }
            let started = Instant::now();
            let stop = *self.stop.borrow_and_update();
            if let Ok(reload) = self.reloads.try_recv() {
                // A drain has no way back; another one under way is for this reload's caller to repeat.
                self.reload = self.reload.take().or(stop.is_none().then_some(reload));
            }
            let stop = stop.or(self.reload.as_ref().map(|reload| reload.deadline));
            if !told_to_stop && let Some(deadline) = stop {
                told_to_stop = true;
                let left = deadline.saturating_duration_since(started).as_millis();
                inputs.push(E::stopped(u64::try_from(left).unwrap_or(u64::MAX)));
            }
            let now = self.now();
            let count = inputs.len();
            match driver.turn(store, now, inputs.drain(..)) {
                Ok(released) => {
                    telemetry::turn(self.name, count, started.elapsed());
                    for effect in released.into_effects() {
                        self.edge.perform(effect);
                    }
                }
                Err(halt) => return Ended::Halted(halt),
            }
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// Waits for facts, a wish to stop, the machine's deadline or the next look at the figures; `false` when nobody sends
    /// any more.
    async fn wait(
        &mut self,
        driver: &Driver<M>,
        store: &Writer<'_>,
        observed: Instant,
        inputs: &mut Vec<M::Input>,
    ) -> bool {
        let deadline = driver.deadline().map_or(Mono::from_ns(u64::MAX), |(at, _)| at);
        let wake = self.clock.instant_of(deadline).min(observed + 4 * OBSERVE_INTERVAL);
        let wake = if store.is_behind() { wake.min(Instant::now() + IDLE_BEHIND) } else { wake };
        tokio::select! {
            biased;
            received = self.inputs.recv_many(inputs, TURN_INPUTS_MAX) => received > 0,
            Ok(()) = self.stop.changed() => true,
            Some(reload) = self.reloads.recv(), if self.reload.is_none() => {
                self.reload = self.stop.borrow().is_none().then_some(reload);
                true
            }
            () = store.asked(), if store.is_behind() => true,
            () = tokio::time::sleep_until(wake.into()) => true,
        }
    }

    fn publish_status(&mut self, driver: &Driver<M>, drained: Option<Report>) {
        let next = Status {
            not_ready: self.edge.not_ready(driver.machine()),
            halted: None,
            store_fault: None,
            drained,
        };
        self.status.send_if_modified(|status| {
            let drained = next.drained.or(status.drained);
            let next = Status { drained, ..next };
            let changed = *status != next;
            *status = next;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{NodeKind, Said, Settings};
    use cloudlysis_core::aggregate::{Aggregate, Config, Effect, Input};
    use cloudlysis_io_nats::store::MapSize;
    use std::collections::BTreeMap;

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
        let mut partition =
            start::<Aggregate, _>(parts, mpsc::channel(INPUTS_MAX), Nowhere).expect("a thread");
        assert_eq!(partition.status.borrow().not_ready, ["starting"]);
        go.send(()).expect("the partition is starting");
        let ready = partition.status.wait_for(|status| status.not_ready.is_empty()).await.is_ok();
        assert!(ready, "recovered");
        partition.join();
    }
}
