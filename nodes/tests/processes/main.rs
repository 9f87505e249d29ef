//! The product as its users run it: real processes, a real broker, real files, real signals.
//!
//! | module | what it shows |
//! |---|---|
//! | [`orders`] | an order from command to parcel; what a caller is told |
//! | [`kill`] | SIGKILL of the process, again and again: nothing lost, nothing twice |
//! | [`crashes`] | SIGKILL at the moments that hurt, brought about on purpose |
//! | [`broker_away`] | SIGKILL of the broker |
//! | [`drain`] | SIGTERM, and a drain on request |
//! | [`rolling`] | a rolling restart under load, and SIGKILL after a drain |
//! | [`dead_letters`] | what nobody answers, and letting it go |
//! | [`quarantine`] | what cannot be applied holds back only its own key |
//! | [`reload`] | new manifests while the node runs |
//! | [`timers`] | timers and signals of sagas |
//! | [`schedules`] | what is due again and again |
//! | [`metrics`] | what `/metrics` says |
//! | [`traces`] | spans, where a collector is named |
//! | [`figures`] | what a bench prints |
//! | [`providers`] | effects that are not HTTP calls |
//! | [`secrets`] | secrets of effects reach their service and nothing else |
//! | [`manifests`], [`ids`], [`strangers`] | bad input: manifests, ids and payloads, streams and data directories |
//! | [`clients`] | clients of others on the broker of a running shop |
//! | [`separate`] | every node as a process of its own |
//! | [`sharded`] | tenants in two partitions |
//! | [`token`] | who may ask for what |
//! | [`credentials`] | who may use the broker, and what is not said about it |
//! | [`admin`] | operators over gRPC |
//! | [`workload`], [`audit`] | many orders with many fates, and the books that must balance after them |
//! | [`world`] | the processes themselves |
//!
//! Whatever needs a broker runs on two at once: on the real `nats-server`, and on our own in its place. Some run on the
//! broker that `dev` brings along, too.

mod admin;
mod audit;
mod broker_away;
mod clients;
mod crashes;
mod credentials;
mod dead_letters;
mod drain;
mod figures;
mod ids;
mod kill;
mod manifests;
mod metrics;
mod orders;
mod parked;
mod providers;
mod quarantine;
mod reload;
mod restarts;
mod rolling;
mod schedules;
mod secrets;
mod separate;
mod sharded;
mod strangers;
mod timers;
mod token;
mod traces;
mod workload;
mod world;

use std::path::Path;
use std::thread;
use world::{World, original};

/// Ours, started by the flags of the original.
const OURS: &str = env!("CARGO_BIN_EXE_cloudlysis-nats-server");

/// Runs a test on both brokers, at once: it waits far more than it works. Who fails is the thread's name.
fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for broker in [original(), Path::new(OURS)] {
            let name = format!("on {}", broker.display());
            let run = || {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async { test(World::on(broker).await).await });
            };
            thread::Builder::new().name(name).spawn_scoped(scope, run).expect("a thread");
        }
    });
}

/// What kills the nodes kills the broker too.
#[tokio::test(flavor = "multi_thread")]
async fn killed_together_with_its_broker() {
    kill::killed_again_and_again_nothing_is_lost_and_nothing_happens_twice(World::without_broker().await)
        .await;
}

#[cfg(feature = "otlp")]
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_followed_by_its_trace_to_the_effect() {
    traces::exported::a_command_is_followed_by_its_trace_to_the_effect(World::without_broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_collector_in_vain_is_told() {
    traces::who_names_a_collector_in_vain_is_told().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_clients_use_the_broker_that_comes_along() {
    clients::published_clients_use_the_broker_of_a_running_shop(World::without_broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_go_on_when_they_are_killed_together_with_the_broker() {
    schedules::every_occurrence_has_one_effect_whenever_the_process_is_killed(World::without_broker().await)
        .await;
}

/// Each test on both brokers.
macro_rules! on_both_brokers {
    ($($module:ident::$test:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            on_both($module::$test);
        })*
    };
}

on_both_brokers!(
    orders::an_order_is_placed_and_shipped,
    orders::an_order_cancelled_while_its_card_is_charged_is_refunded,
    orders::a_refusal_is_a_problem_with_a_code,
    orders::a_list_comes_in_pages,
    kill::killed_again_and_again_nothing_is_lost_and_nothing_happens_twice,
    crashes::killed_after_a_commit_and_before_anything_leaves,
    crashes::killed_after_work_has_left_and_before_its_answer,
    crashes::killed_during_a_call,
    crashes::killed_during_redelivery,
    broker_away::without_its_broker_a_node_waits_quietly_and_then_goes_on,
    broker_away::a_node_whose_broker_is_not_there_yet_answers_its_probes,
    dead_letters::a_command_that_nobody_answers_is_a_dead_letter_until_it_is_replayed,
    dead_letters::what_is_purged_is_gone_and_is_accounted_for,
    dead_letters::a_replay_goes_on_after_its_process_was_killed,
    metrics::a_running_shop_says_what_is_documented,
    rolling::every_process_is_restarted_under_load_and_nothing_is_lost_or_in_doubt,
    drain::a_terminated_process_drains_and_the_next_one_goes_on,
    drain::a_call_under_way_is_waited_for,
    drain::a_drained_process_stays_and_says_so_until_it_is_terminated,
    drain::a_drain_ends_by_its_deadline_and_says_what_is_left,
    quarantine::a_charge_that_fails_releases_the_stock_and_cancels_the_order,
    quarantine::an_event_nobody_can_read_holds_back_only_its_own_order,
    ids::any_text_is_an_id_and_no_two_are_mixed_up,
    ids::what_is_no_id_is_refused_by_name,
    ids::a_payload_over_the_limit_is_refused_and_the_node_goes_on,
    strangers::a_stream_that_would_lose_messages_is_refused_and_left_alone,
    strangers::a_data_directory_does_not_go_on_with_another_stream_of_the_same_name,
    strangers::a_second_process_is_kept_out_of_a_data_directory,
    strangers::a_second_data_directory_does_not_take_the_consumers_over_unasked,
    strangers::a_view_with_another_definition_is_made_anew_as_its_message_says,
    clients::published_clients_use_the_broker_of_a_running_shop,
    timers::a_timer_outlives_its_process_and_a_signal_is_heard_once,
    timers::a_paused_saga_holds_what_comes_and_goes_on_after_a_restart,
    restarts::a_checkout_that_failed_begins_again_and_asks_anew,
    restarts::a_saga_that_is_new_takes_up_what_was_there_before,
    timers::a_killed_saga_stays_dead_and_a_cancelled_one_undoes,
    schedules::every_occurrence_has_one_effect_whenever_the_process_is_killed,
    schedules::an_operator_pauses_one_has_it_fire_and_fills_in,
    secrets::a_secret_reaches_its_service_and_nothing_that_is_kept_or_said,
    parked::what_waits_for_a_person_is_called_again_or_settled,
    providers::effects_ask_services_on_the_broker,
    providers::effects_that_are_messages_ask_services_on_the_broker,
    figures::a_bench_of_sagas_says_what_they_cost,
    token::operators_show_a_token_and_probes_need_none,
    token::without_a_token_a_node_is_not_opened_to_others,
    admin::operators_use_grpc_as_they_use_http,
    admin::a_schedule_does_what_it_is_told_over_grpc,
    admin::half_a_runner_says_which_half_it_is,
    reload::manifests_are_swapped_under_load_or_not_at_all,
    reload::an_instance_under_way_takes_up_todays_manifest_when_it_is_told_to,
    separate::four_processes_ship_an_order,
    sharded::tenants_join_two_partitions_while_their_orders_come_in,
    sharded::a_tenant_is_in_one_partition_and_stays_there,
    sharded::one_partition_becomes_two_and_keeps_its_tenants,
    separate::sagas_and_effects_as_two_processes_carry_out_a_workload,
    separate::streams_are_created_only_on_request,
    separate::a_wrong_setting_is_refused_with_its_origin,
    separate::a_runner_keeps_the_mode_it_began_with,
    separate::a_node_waits_for_the_one_that_creates_the_streams,
    credentials::a_broker_that_asks_who_calls_is_told,
);
