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
//!
//! A panic on the thread is a bug of ours or of a native program, and met again by whoever begins again: the partition stays
//! halted and says so, as for any other reason that needs a person.

mod metered;
#[cfg(test)]
mod tests;

use crate::telemetry::{self, attention};
use cloudlysis_core::drain::Report;
use cloudlysis_core::{Checks, Driver, Halt, Machine, MarkCounts, Mono, Now, Quirks, StoreFault};
use cloudlysis_io_nats::clock::Clock;
use cloudlysis_io_nats::store::{Commits, Figures, HeedStore, Writer};
use metered::Metered;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
/// How long a recovered partition that has nothing to store is said to have a store that refuses.
const FAULT_QUIET: Duration = Duration::from_secs(10);

/// What the rest of the process may know about a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Why it does not take work; empty when it does.
    pub not_ready: Vec<String>,
    /// Why it stopped for good.
    pub halted: Option<String>,
    /// The store refuses to be written: from a commit that failed until one has succeeded.
    pub store_fault: Option<String>,
    /// How its drain ended.
    pub drained: Option<Report>,
}

impl Status {
    /// Before its machine is recovered nobody knows whether it takes work: that is no reason to say it does.
    pub(crate) fn starting() -> Self {
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
    let Parts { name, mut store, commits, config } = parts;
    telemetry::partition(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name(format!("partition-{name}")).spawn(move || {
        let mut shell = Shell::<M, E, _> {
            name,
            commits,
            config,
            inputs: receiver,
            status,
            stop: stopping,
            reloads: reloaded,
            reload: None,
            fault: None,
            edge,
            clock: Clock::default(),
        };
        // What the machine left half done is not looked at again: only its edge is told that it is no more.
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(shell.run(&mut store))));
        let why = match ended {
            Ok(None) => return,
            Ok(Some(halt)) => halt.to_string(),
            Err(panic) => format!("the partition's thread panicked: {}", said(&*panic)),
        };
        shell.halt(&why);
        shell.catch_up(&mut store.writer(commits));
    })?;
    Ok(Partition { inputs: sender, stop, reloads, status: watched, thread })
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
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
    /// A commit failed, and what was to be stored then has not been since.
    fault: Option<String>,
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
    /// Lives: recovers, runs turns, recovers again after what recovery may help against. What it does not help against.
    async fn run(&mut self, store: &mut HeedStore) -> Option<Halt> {
        loop {
            let checks = if cfg!(debug_assertions) { Checks::EveryTurn } else { Checks::InHandlersOnly };
            let figures = store.figures();
            let mut writer = store.writer(self.commits);
            let ended = match Driver::<M>::recover(
                (self.config)(),
                &mut self.metered(&mut writer),
                checks,
                Quirks::NONE,
            ) {
                Ok(driver) => {
                    self.edge.recovered();
                    self.turns(driver, &mut writer, &figures).await
                }
                Err(halt) => Ended::Halted(halt),
            };
            self.catch_up(&mut writer);
            drop(writer);
            // A machine that halted did not drain: whoever wanted to reload hears of it, and the old definitions go on.
            self.reload = None;
            match ended {
                Ended::Closed => return None,
                Ended::Reloaded => {
                    tracing::info!(partition = self.name, "recovering under other definitions")
                }
                Ended::Halted(halt) if halt.is_recoverable() => {
                    tracing::warn!(partition = self.name, %halt, "recovering from the store");
                    telemetry::partition_recovered(self.name);
                    self.make_room(store, &halt);
                    self.fault = Some(halt.to_string());
                    self.status.send_modify(|status| status.store_fault.clone_from(&self.fault));
                    tokio::time::sleep(RECOVER_PAUSE).await;
                    if self.inputs.is_closed() {
                        return None;
                    }
                }
                Ended::Halted(halt) => return Some(halt),
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

    /// Whoever reads on, or opens the directory with an earlier release, need not wait for the next machine.
    fn catch_up(&self, writer: &mut Writer<'_>) {
        if let Err(fault) = metered::checkpoint(self.name, writer) {
            tracing::warn!(partition = self.name, %fault, "what was committed stays in the journal");
        }
    }

    /// Stopped for good: says why. Who sends something from now on hears that nobody takes it, and who sent before is not left
    /// to wait.
    fn halt(&mut self, why: &str) {
        self.inputs.close();
        while self.inputs.try_recv().is_ok() {}
        tracing::error!(partition = self.name, why, "stopped");
        self.status.send_modify(|status| {
            status.halted = Some(why.to_owned());
            status.not_ready = vec![format!("halted: {why}")];
        });
        self.edge.recovered();
        self.reload = None;
    }

    async fn turns(&mut self, mut driver: Driver<M>, store: &mut Writer<'_>, figures: &Figures) -> Ended {
        let mut told = MarkCounts::default();
        let ended = self.turn_by_turn(&mut driver, &mut told, store, figures).await;
        self.tell_marks(&driver, &mut told);
        ended
    }

    fn tell_marks(&self, driver: &Driver<M>, told: &mut MarkCounts) {
        telemetry::marks(self.name, driver.marks());
        attention::for_a_person(self.name, told, driver.marks());
        told.clone_from(driver.marks());
    }

    async fn turn_by_turn(
        &mut self,
        driver: &mut Driver<M>,
        told: &mut MarkCounts,
        store: &mut Writer<'_>,
        figures: &Figures,
    ) -> Ended {
        let mut inputs = Vec::with_capacity(TURN_INPUTS_MAX);
        let mut told_to_stop = false;
        let (stored, recovered) = (figures.stored(), Instant::now());
        let mut observed = Instant::now().checked_sub(OBSERVE_INTERVAL).unwrap_or_else(Instant::now);
        loop {
            if observed.elapsed() >= OBSERVE_INTERVAL {
                observed = Instant::now();
                self.edge.observe(driver.machine(), figures);
                self.tell_marks(driver, told);
            }
            let drained = self.edge.drained();
            if let Some((report, reload)) = drained.zip(self.reload.take_if(|_| drained.is_some())) {
                (reload.swap)();
                // An error means that nobody waits for it any more.
                let _ = reload.done.send(report);
                return Ended::Reloaded;
            }
            // That it was recovered proves little: its one row may fit where what failed does not, or into the journal alone.
            if self.fault.is_some() && (figures.stored() > stored || recovered.elapsed() >= FAULT_QUIET) {
                self.fault = None;
            }
            self.publish_status(driver, drained);
            if store.is_asked()
                && let Err(fault) = metered::checkpoint(self.name, store)
            {
                return Ended::Halted(fault.into());
            }
            inputs.clear();
            let asleep = Instant::now();
            if !self.wait(driver, store, observed, &mut inputs).await {
                return Ended::Closed;
            }
            if inputs.is_empty()
                && store.is_behind()
                && asleep.elapsed() >= IDLE_BEHIND
                && let Err(fault) = metered::checkpoint(self.name, store)
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
            match driver.turn(&mut self.metered(store), now, inputs.drain(..)) {
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

    fn metered<'m, S>(&self, store: &'m mut S) -> Metered<'m, S> {
        Metered { node: self.name, store }
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
            store_fault: self.fault.clone(),
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
