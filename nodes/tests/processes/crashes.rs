//! SIGKILL at the moments that hurt a runner (RUN-14): work is committed and has not left; it has left and nobody heard
//! the answer; a call is under way; what was applied is delivered again.
//!
//! The way to the broker loses one direction first, so that the moment is certain and not a matter of luck; the process
//! is an ordinary one. Afterwards the books balance, and what the outside saw more than once is what the audit of
//! effects says it may have seen more than once.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::shop::Shop;
use crate::world::{Lost, Node, SOON, World, cloudlysis, eventually, note};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Sagas, unless `CLOUDLYSIS_SAGAS` says otherwise.
const ORDERS: usize = 60;
const CUSTOMERS: usize = 8;
const KILLS: usize = 3;
/// How long a moment is waited for; then everything had come to rest before, and the kill is one like any other.
const MOMENT: Duration = Duration::from_secs(4);
/// So that the second kill finds deliveries under way.
const FURTHER_MS_MAX: u64 = 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    CommittedNotSent,
    SentNotHeard,
    CallUnderWay,
    DeliveredAgain,
}

pub(crate) async fn killed_after_a_commit_and_before_anything_leaves(world: World) {
    run(world, Moment::CommittedNotSent).await;
}

pub(crate) async fn killed_after_work_has_left_and_before_its_answer(world: World) {
    run(world, Moment::SentNotHeard).await;
}

pub(crate) async fn killed_during_a_call(world: World) {
    run(world, Moment::CallUnderWay).await;
}

pub(crate) async fn killed_during_redelivery(world: World) {
    run(world, Moment::DeliveredAgain).await;
}

async fn run(mut world: World, moment: Moment) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let given = std::env::var("CLOUDLYSIS_SAGAS").ok().and_then(|count| count.parse().ok());
    let orders: usize = given.unwrap_or(ORDERS);
    let started = Instant::now();
    let workload = Workload::roll(orders, &mut dice);
    world.link().await;
    let mut node = world.start_dev("data", &["--hand-over", "broker"]).await;
    node.ready().await;
    let shop = node.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let kills = async {
        let mut met = 0;
        for kill in 1..=KILLS {
            let at_least = orders * kill / (KILLS + 1);
            watched.wait_for(|placed| *placed >= at_least).await.expect("orders are being placed");
            met += usize::from(kill_at(&world, &mut node, moment, &mut dice).await);
        }
        met
    };
    let (repeated, met) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), kills);
    let books = Books::close(&world, &node).await;
    books.assert_balanced(&workload);
    let (doubtful, twice) = audit(&world, &node).await;
    note(&format!(
        "{moment:?}: {met} of {KILLS} kills met it; {repeated} answers repeated; {doubtful} effects are in doubt, \
         says the ledger, and {twice} calls reached the outside more than once; {books}; {:?}",
        started.elapsed()
    ));
    assert!(met > 0, "no kill met its moment");
}

/// Brings the moment about, kills, and starts again; whether the moment was met.
async fn kill_at(world: &World, node: &mut Node, moment: Moment, dice: &mut Dice) -> bool {
    let shop = node.shop();
    // Whatever the moment, something is under way then: the answer to this call must leave again.
    world.services.pause();
    let met = rises(&shop, "cloudlysis_effects_in_flight").await
        && match moment {
            Moment::CommittedNotSent | Moment::DeliveredAgain => work_is_lost(world, &shop, Lost::Up).await,
            Moment::SentNotHeard => work_is_lost(world, &shop, Lost::Down).await,
            Moment::CallUnderWay => true,
        };
    node.kill();
    world.services.resume();
    world.link_to_broker().mend();
    node.restart().await;
    if moment == Moment::DeliveredAgain {
        // What was applied, and whose acknowledgement was lost, comes again now.
        node.ready().await;
        tokio::time::sleep(Duration::from_millis(dice.roll(FURTHER_MS_MAX))).await;
        node.kill();
        node.restart().await;
    }
    met
}

/// Loses a direction, lets the services answer, and waits until work tries to leave.
async fn work_is_lost(world: &World, shop: &Shop, direction: Lost) -> bool {
    world.link_to_broker().lose(direction);
    world.services.resume();
    rises(shop, "cloudlysis_outbox_in_flight").await
}

async fn rises(shop: &Shop, gauge: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < MOMENT {
        if shop.metric(gauge).await.is_ok_and(|value| value > 0.0) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// What the ledger says may have happened twice, and how many calls the outside saw more than once: never more.
async fn audit(world: &World, node: &Node) -> (u64, u64) {
    let arguments: Vec<String> =
        ["audit", "effects", "--json", "--node", &node.url()].map(str::to_owned).into();
    let audit: Value = eventually("the audit is clean", SOON, async || {
        let mut process = cloudlysis("audit", &arguments, world.dir());
        assert_eq!(process.exit(SOON).await.code(), Some(0), "{}", process.log());
        let audit: Value = serde_json::from_str(&process.out()).expect("JSON");
        let clean = audit["stream"]["unknown"] == 0 && sum(&audit, "open") == 0;
        if clean { Ok(audit) } else { Err(audit.to_string()) }
    })
    .await;
    assert_eq!(sum(&audit, "never"), 0, "{audit}");
    // Cut off and then refused, or sent at most once and cut off: whether those reached the outside, nobody can know.
    let doubtful = sum(&audit, "maybe_twice") + sum(&audit, "maybe");
    let operations = world.services.operations().await;
    let twice = operations.iter().filter(|own| own.requests > 1).count() as u64;
    assert!(twice <= doubtful, "{twice} calls were seen more than once: {operations:?}\n{audit}");
    (doubtful, twice)
}

fn sum(audit: &Value, verdict: &str) -> u64 {
    let counts = audit["counts"].as_object().into_iter().flatten();
    counts.map(|(_, own)| own[verdict].as_u64().unwrap_or_default()).sum()
}
