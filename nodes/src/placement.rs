//! Which tenants a node's partition has: as its settings say, or as the bucket does, which may change while the node runs.
//!
//! ```text
//! bucket ─► read, every second ─► another tenant is ours ─► drain the machine ─► recover it with all of them
//!                            └─► one of ours is taken away: logged, and not done
//! ```
//!
//! A partition keeps the tenants it has: what their messages caused is in its store.

use crate::partition::Reload;
use crate::settings::{PlacementFrom, Settings};
use cloudlysis_core::placement::Tenants;
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::placement::{Bucket, BucketError, tenants_with_events};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// How often the bucket is read: a tenant that was placed waits this long, and for one drain.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The tenants of a partition.
#[derive(Clone, Debug)]
pub struct Placed {
    partition: u32,
    tenants: watch::Sender<Tenants>,
    /// Nobody else has ever had an event.
    narrows: bool,
    /// Where there may be more.
    bucket: Option<Bucket>,
}

impl Placed {
    /// All of them, in partition 0.
    #[must_use]
    pub fn all() -> Self {
        Self { partition: 0, tenants: watch::Sender::new(Tenants::All), narrows: false, bucket: None }
    }

    /// As settings say; waits until the bucket can be read, where they name that. `had_all`: the store may have had all
    /// tenants before.
    ///
    /// # Errors
    /// When the broker refuses to say what is in the bucket, or who has events.
    pub async fn find(settings: &Settings, broker: &Broker, had_all: bool) -> Result<Self, BucketError> {
        let partition = settings.partition();
        let (tenants, bucket) = match settings.placement() {
            PlacementFrom::All => (Tenants::All, None),
            PlacementFrom::Map(placement) => (placement.tenants_of(partition), None),
            PlacementFrom::Bucket => {
                let mut bucket = Bucket::new(broker.clone());
                loop {
                    match bucket.read().await {
                        Ok(placement) => break (placement.tenants_of(partition), Some(bucket)),
                        // Nobody is placed yet.
                        Err(BucketError::Missing) => break (Tenants::from_iter([]), Some(bucket)),
                        Err(BucketError::NoAnswer) => tracing::info!("waiting for the broker"),
                        Err(error) => return Err(error),
                    }
                    tokio::time::sleep(READ_EVERY).await;
                }
            }
        };
        let narrows = had_all && tenants != Tenants::All && {
            let with_events = tenants_with_events(broker).await?;
            with_events.into_iter().collect::<Tenants>().lacking_in(&tenants).is_none()
        };
        tracing::info!(partition, %tenants, narrows, "placed");
        Ok(Self { partition, tenants: watch::Sender::new(tenants), narrows, bucket })
    }

    /// Which partition.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// Whether a store that had all tenants may go on with these.
    #[must_use]
    pub const fn narrows(&self) -> bool {
        self.narrows
    }

    /// Its tenants.
    #[must_use]
    pub fn tenants(&self) -> watch::Receiver<Tenants> {
        self.tenants.subscribe()
    }

    /// From now on the partition has every tenant that the bucket places there; what is in flight then has so long.
    pub fn follow(&self, reloads: mpsc::Sender<Reload>, within: Duration) {
        if let Some(bucket) = self.bucket.clone() {
            let following = Following { placed: self.clone(), bucket, reloads, within, refused: None };
            tokio::spawn(following.run());
        }
    }
}

struct Following {
    placed: Placed,
    bucket: Bucket,
    reloads: mpsc::Sender<Reload>,
    within: Duration,
    /// What was logged and not done.
    refused: Option<Tenants>,
}

impl Following {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.reloads.closed() => return,
                () = tokio::time::sleep(READ_EVERY) => {}
            }
            match self.bucket.read().await {
                Ok(placement) => self.have(placement.tenants_of(self.placed.partition)).await,
                Err(BucketError::Missing | BucketError::NoAnswer) => {}
                Err(error) => tracing::error!(%error, "the placement stays as it is"),
            }
        }
    }

    async fn have(&mut self, wanted: Tenants) {
        let own = self.placed.tenants.borrow().clone();
        if own == wanted {
            self.refused = None;
            return;
        }
        if let Some(taken) = own.lacking_in(&wanted) {
            if self.refused.as_ref() != Some(&wanted) {
                tracing::error!(%taken, "a partition keeps the tenants it has: place them here again");
                self.refused = Some(wanted);
            }
            return;
        }
        let (done, over) = oneshot::channel();
        let (tenants, joined) = (self.placed.tenants.clone(), wanted.clone());
        let swap = Box::new(move || drop(tenants.send_replace(joined)));
        let order = Reload { deadline: Instant::now() + self.within, swap, done };
        // Another reload is under way, or the node drains: the next look finds out.
        if self.reloads.send(order).await.is_ok() && over.await.is_ok() {
            tracing::info!(tenants = %wanted, "placed");
        }
    }
}
