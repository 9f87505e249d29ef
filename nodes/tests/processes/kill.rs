//! SIGKILL of the process with every node in it, at moments a seed chooses.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::{World, note};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const ORDERS: usize = 200;
const CUSTOMERS: usize = 8;
const KILLS: usize = 5;
/// So that a kill does not always follow an answer at once.
const FURTHER_MS_MAX: u64 = 120;

pub(crate) async fn killed_again_and_again_nothing_is_lost_and_nothing_happens_twice(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let started = Instant::now();
    let workload = Workload::roll(ORDERS, &mut dice);
    let mut moments: Vec<(usize, Duration)> = (0..KILLS)
        .map(|_| {
            let placed = usize::try_from(dice.roll(ORDERS as u64)).expect("an index");
            (placed, Duration::from_millis(dice.roll(FURTHER_MS_MAX)))
        })
        .collect();
    moments.sort_unstable();

    let mut node = world.dev("data").await;
    let shop = node.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let kills = async {
        for (at_least, further) in &moments {
            watched.wait_for(|placed| placed >= at_least).await.expect("orders are being placed");
            tokio::time::sleep(*further).await;
            node.kill();
            node.restart().await;
        }
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), kills);
    let books = Books::close(&world, &node).await;
    note(&format!("killed after {moments:?}; {repeated} answers repeated; {books}; {:?}", started.elapsed()));
    books.assert_balanced(&workload);
}
