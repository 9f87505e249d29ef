//! The same scripts against a real nats-server and against `core::jetstream`: same requests, same answers.
//!
//! Everything is compared: what a publisher is told, error numbers and texts, states and configurations, every message
//! and status a pull gets, in order. Left out are moments, the metadata a server adds about itself, and fields of the
//! real server that the engine does not have. Where the engine differs on purpose, [`deliberate`] says so; a difference
//! that is no longer there is a failure too.

mod acks;
mod batches;
mod configurations;
mod connecting;
mod consumers;
mod copies;
mod deliberate;
mod direct;
mod engine;
mod features;
mod groups;
mod listen;
mod memory;
mod order;
mod publishing;
mod pulls;
mod purges;
mod push;
mod restarts;
mod retention;
mod schedules;
mod script;
mod server;
mod setting;
mod side;
mod streams;

#[path = "../nats_server/mod.rs"]
mod nats_server;

use engine::Engine;
use script::{Script, Step};
use server::Server;

/// Runs a script on both brokers and compares what they said.
macro_rules! conform {
    ($($module:ident::$script:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $script() {
            let mut engine = Script::on(Engine::new(), Vec::new());
            $module::$script(&mut engine).await;
            let said = engine.said();
            let mut server = Script::on(Server::start().await, said.clone());
            $module::$script(&mut server).await;
            compare(&said, &server.said());
        }
    )*};
}

conform!(
    streams::creating_and_changing,
    streams::refused_configurations,
    streams::removing,
    streams::limits,
    streams::limits_of_what_is_there,
    streams::what_is_gone,
    publishing::expectations,
    publishing::duplicates,
    publishing::refusals,
    consumers::creating_and_changing_consumers,
    consumers::refused_consumers,
    consumers::the_same_again,
    consumers::other_filters,
    consumers::what_an_update_may_change,
    consumers::limits_of_the_stream,
    consumers::pedantic_consumers,
    consumers::where_a_consumer_begins,
    consumers::removal_under_a_consumer,
    pulls::how_a_pull_ends,
    pulls::several_pulls,
    pulls::bounds_of_a_pull,
    pulls::who_does_not_wait,
    purges::whom_a_purge_moves,
    purges::floors_after_a_purge,
    purges::who_is_told_of_a_purge,
    purges::who_is_told_of_a_roll_up,
    purges::a_purge_under_who_is_stalled,
    acks::every_kind_of_ack,
    acks::redelivery,
    acks::giving_up,
    acks::one_at_a_time,
    acks::acks_of_everything_before,
    acks::an_ack_that_is_a_pull,
    groups::overflow,
    groups::prioritized,
    groups::pinned_client,
    groups::members_and_others,
    groups::refused_groups,
    setting::pausing,
    setting::paused_by_configuration,
    setting::resetting,
    setting::beginning_at_a_time,
    setting::replaying,
    setting::a_rate,
    setting::what_is_told,
    push::a_push_consumer,
    push::a_watched_bucket,
    push::flow_control,
    push::heartbeats,
    push::ephemerals,
    push::refused_push_consumers,
    push::another_deliver_subject,
    push::headers_only,
    retention::who_may_consume_a_work_queue,
    retention::a_work_queue,
    retention::interest,
    retention::less_interest,
    retention::interest_from_now_on,
    retention::interest_without_acks,
    retention::retention_of_limits_and_roll_ups,
    retention::retention_over_a_restart,
    memory::a_memory_stream,
    memory::memory_over_a_restart,
    direct::direct_gets,
    direct::several_at_once,
    configurations::fields,
    configurations::refused_fields,
    configurations::changed_fields,
    configurations::consumer_limits,
    configurations::lists,
    order::pairs_of_failing_checks,
    features::subject_transforms,
    features::counters,
    features::message_ttl,
    features::unacknowledged,
    batches::batches,
    batches::what_a_batch_expects,
    batches::batches_within_limits,
    copies::mirrors,
    copies::sources,
    copies::copies_over_a_restart,
    copies::refused_origins,
    schedules::what_is_a_schedule,
    schedules::what_a_schedule_may_ask_for,
    schedules::who_may_end_a_schedule,
    schedules::where_schedules_are_allowed,
    schedules::what_comes_of_a_schedule,
    schedules::schedules_over_a_restart,
    restarts::a_restart_in_good_order,
    restarts::a_crash,
);

fn compare(engine: &[Step], server: &[Step]) {
    let asked = |steps: &[Step]| steps.iter().map(|step| step.what.clone()).collect::<Vec<_>>();
    assert_eq!(asked(engine), asked(server), "the script took another course");
    let mut faults = Vec::new();
    for (at, (engine, server)) in engine.iter().zip(server).enumerate() {
        let Step { what, answer } = engine;
        match (deliberate::why(what), *answer == server.answer) {
            (None, true) | (Some(_), false) => {}
            (None, false) => {
                let same = same_until(answer, &server.answer);
                let (engine, server) = (&answer[same..], &server.answer[same..]);
                faults.push(format!("{at}. {what}\n  engine: …{engine}\n  server: …{server}"));
            }
            (Some(why), true) => faults.push(format!("{at}. {what}: no longer different, but listed: {why}")),
        }
    }
    assert!(faults.is_empty(), "{} of {} steps:\n{}", faults.len(), engine.len(), faults.join("\n"));
}

/// How far two answers agree, in whole words.
fn same_until(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let cut =
        |text: &str| text.is_char_boundary(same).then(|| text[..same].rfind(' ').map_or(0, |at| at + 1));
    cut(one).unwrap_or(0)
}
