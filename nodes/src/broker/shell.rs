//! The loop of turns, and the connections around it.

use super::approach::Visitor;
use super::door::{Arrived, Doors};
use super::farewell::Farewell;
use super::options::{LameDuck, Options};
use super::outbox::Outbox;
use super::{Figures, Order};
use cloudlysis_core::broker::{Broker, Config, Input};
use cloudlysis_core::nats::ConnectionId;
use cloudlysis_core::nats::server;
use cloudlysis_core::store::Store;
use cloudlysis_core::{Checks, Driver, Halt, Mono, Quirks};
use cloudlysis_io_nats::clock::Clock;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How long clients may take for what is left when the broker ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause before recovering again, so that a store that keeps failing is not hammered.
const RECOVER_PAUSE: Duration = Duration::from_secs(1);

/// Connections beyond the limit that are told so at the same time.
const REFUSED_AT_ONCE_MAX: usize = 64;

async fn next(doors: Option<&Doors>) -> std::io::Result<Arrived> {
    match doors {
        Some(doors) => doors.next().await,
        None => std::future::pending().await,
    }
}

/// Facts that wait for the next turn: at most one read and two events of each connection.
#[derive(Default)]
pub(super) struct Inbox {
    inputs: RefCell<Vec<server::Input>>,
    filled: Notify,
}

impl Inbox {
    pub(super) fn push(&self, input: server::Input) {
        self.inputs.borrow_mut().push(input);
        self.filled.notify_one();
    }

    /// Waits for facts. Whoever has something to say may say it before they are taken, so that they share a turn.
    async fn filled(&self) {
        if self.inputs.borrow().is_empty() {
            self.filled.notified().await;
        }
        tokio::task::yield_now().await;
    }

    fn take(&self) -> Vec<server::Input> {
        std::mem::take(&mut *self.inputs.borrow_mut())
    }
}

/// The broker and everything it lives from.
pub(super) struct Shell<S> {
    driver: Driver<Broker>,
    config: Config,
    store: S,
    clock: Clock,
    inbox: Rc<Inbox>,
    outboxes: BTreeMap<ConnectionId, Rc<Outbox>>,
    last_id: u64,
    slow_consumers: u64,
    lame_duck: LameDuck,
    /// Set once it lets nobody in any more.
    farewell: Option<Farewell>,
    pending_bytes_max: usize,
    write_deadline: Duration,
}

const fn checks() -> Checks {
    if cfg!(debug_assertions) { Checks::EveryTurn } else { Checks::InHandlersOnly }
}

impl<S: Store> Shell<S> {
    pub(super) fn recover(config: Config, mut store: S, options: &Options) -> Result<Self, Halt> {
        let driver = Driver::recover(config.clone(), &mut store, checks(), Quirks::NONE)?;
        Ok(Self {
            driver,
            config,
            store,
            clock: Clock::default(),
            inbox: Rc::default(),
            outboxes: BTreeMap::new(),
            last_id: 0,
            slow_consumers: 0,
            lame_duck: options.lame_duck,
            farewell: None,
            pending_bytes_max: options.pending_bytes_max,
            write_deadline: options.write_deadline,
        })
    }

    /// Serves until it is told to stop, or cannot go on.
    pub(super) async fn run(mut self, doors: Doors, mut ordered: mpsc::Receiver<Order>) -> Result<(), Halt> {
        let mut doors = Some(doors);
        loop {
            let deadline = self.driver.deadline().map_or(Mono::from_ns(u64::MAX), |(at, _)| at);
            tokio::select! {
                biased;
                order = ordered.recv() => {
                    match order {
                        None | Some(Order::Stop) => return self.stop().await,
                        Some(Order::Leave) => {
                            doors = None;
                            self.leave();
                        }
                        Some(Order::Reconfigure(rules)) => {
                            let (auth, limits) = *rules;
                            (self.config.server.auth, self.config.server.limits) = (auth.clone(), limits);
                            self.inbox.push(server::Input::Reconfigured { auth, limits });
                        }
                        // Nobody waits for it any more: that is fine.
                        Some(Order::Look(tell)) => drop(tell.send(self.figures())),
                    }
                    continue;
                }
                () = self.inbox.filled() => {}
                () = tokio::time::sleep_until(self.clock.instant_of(deadline).into()) => {}
                () = Farewell::due(self.farewell.as_ref()) => {
                    if self.send_one_away() {
                        return self.stop().await;
                    }
                    continue;
                }
                arrived = next(doors.as_ref()) => {
                    match arrived {
                        Ok(arrived) => self.admit(arrived),
                        Err(error) => {
                            tracing::warn!(%error, "a client could not be let in");
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    }
                    continue;
                }
            }
            let inputs = self.inbox.take();
            if let Err(halt) = self.turn(inputs) {
                self.start_again(halt, &mut ordered).await?;
            }
        }
    }

    fn admit(&mut self, (stream, address, approach): Arrived) {
        // Who is on the way in counts too; who is beyond the limit is told so only if there is room for that.
        if self.outboxes.len()
            >= self.config.server.limits.connections_max.saturating_add(REFUSED_AT_ONCE_MAX)
        {
            return;
        }
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        let outbox = Rc::new(Outbox::new(self.pending_bytes_max));
        self.outboxes.insert(id, Rc::clone(&outbox));
        let (inbox, write_deadline) = (Rc::clone(&self.inbox), self.write_deadline);
        let visitor = Visitor { id, address, inbox, outbox, write_deadline };
        tokio::task::spawn_local(visitor.come(stream, approach));
    }

    fn figures(&self) -> Figures {
        Figures::of(self.driver.machine(), self.last_id, self.slow_consumers)
    }

    fn leave(&mut self) {
        if self.farewell.is_none() {
            tracing::info!("Entering lame duck mode, stop accepting new clients");
            self.inbox.push(server::Input::LameDuckBegan);
            self.farewell = Some(Farewell::begin(self.lame_duck, self.outboxes.len()));
        }
    }

    /// Whether nobody is left.
    fn send_one_away(&mut self) -> bool {
        if let Some(farewell) = &mut self.farewell {
            farewell.next();
        }
        if let Some(outbox) = self.outboxes.values().find(|outbox| !outbox.is_over()) {
            outbox.end();
        }
        self.outboxes.is_empty()
    }

    fn turn(&mut self, inputs: Vec<server::Input>) -> Result<(), Halt> {
        for input in &inputs {
            match input {
                server::Input::Received { connection, .. } => {
                    if let Some(outbox) = self.outboxes.get(connection) {
                        outbox.turn();
                    }
                }
                server::Input::Disconnected { connection } => {
                    self.outboxes.remove(connection);
                }
                server::Input::Connected { .. }
                | server::Input::LameDuckBegan
                | server::Input::Reconfigured { .. }
                | server::Input::Tick => {}
            }
        }
        let inputs = inputs.into_iter().map(Input::Client);
        let released = self.driver.turn(&mut self.store, self.clock.now(), inputs)?;
        for effect in released.into_effects() {
            match effect {
                server::Effect::Send { connection, bytes } => {
                    let Some(outbox) = self.outboxes.get(&connection) else { continue };
                    if !outbox.push(bytes) {
                        self.slow_consumers += 1;
                        tracing::warn!(
                            client = connection.0,
                            "slow consumer: too much is waiting for it; cut"
                        );
                    }
                }
                server::Effect::Close { connection } => {
                    if let Some(outbox) = self.outboxes.get(&connection) {
                        outbox.end();
                    }
                }
            }
        }
        Ok(())
    }

    /// After a halt: everybody is sent away, and what the store holds is taken up again as soon as that can be done: a full
    /// disk may have room again.
    async fn start_again(&mut self, mut halt: Halt, ordered: &mut mpsc::Receiver<Order>) -> Result<(), Halt> {
        for outbox in std::mem::take(&mut self.outboxes).into_values() {
            outbox.cut();
        }
        loop {
            tracing::error!(%halt, "the broker stumbled");
            if !halt.is_recoverable() {
                return Err(halt);
            }
            tokio::select! {
                () = tokio::time::sleep(RECOVER_PAUSE) => {}
                () = self.told_to_end(ordered) => return Err(halt),
            }
            self.inbox.take();
            self.clock = Clock::default();
            match Driver::recover(self.config.clone(), &mut self.store, checks(), Quirks::NONE) {
                Ok(driver) => {
                    self.driver = driver;
                    return Ok(());
                }
                Err(again) => halt = again,
            }
        }
    }

    /// Waits for the order to end; follows the others as far as it can meanwhile.
    async fn told_to_end(&mut self, ordered: &mut mpsc::Receiver<Order>) {
        loop {
            match ordered.recv().await {
                None | Some(Order::Stop | Order::Leave) => return,
                Some(Order::Reconfigure(rules)) => {
                    (self.config.server.auth, self.config.server.limits) = *rules;
                }
                Some(Order::Look(tell)) => drop(tell.send(self.figures())),
            }
        }
    }

    /// Writes everything down, says good-bye, ends.
    async fn stop(mut self) -> Result<(), Halt> {
        let inputs = self.inbox.take();
        self.turn(inputs)?;
        let released = self.driver.turn(&mut self.store, self.clock.now(), [Input::Stopping])?;
        for effect in released.into_effects() {
            if let server::Effect::Send { connection, bytes } = effect
                && let Some(outbox) = self.outboxes.get(&connection)
            {
                outbox.push(bytes);
            }
        }
        for outbox in self.outboxes.values() {
            outbox.end();
        }
        let all_gone = async {
            while !self.outboxes.is_empty() {
                self.inbox.filled().await;
                for input in self.inbox.take() {
                    if let server::Input::Disconnected { connection } = input {
                        self.outboxes.remove(&connection);
                    }
                }
            }
        };
        tokio::time::timeout(FAREWELL, all_gone).await.ok();
        Ok(())
    }
}
