//! What gRPC clients may ask of every listener: which services it has (reflection), and whether they take work (health).
//!
//! Health follows `/ready`, under the empty name and under that of each service: at once when the process is told to end, so
//! that nobody is sent to one that takes nothing in any more. Neither asks for a token: they say what probes say.

use crate::probes::Probes;
use crate::proto::DESCRIPTORS;
use crate::server;
use axum::Router;
use std::time::Duration;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// How late health may be.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Health and reflection of these services.
pub async fn router(probes: &Probes, services: &[&'static str]) -> Router {
    let (reporter, health) = tonic_health::server::health_reporter();
    let names: Vec<&'static str> = [""].iter().chain(services).copied().collect();
    // Nobody is to be told that a service is unknown because it has not been looked at yet.
    report(&reporter, probes, &names).await;
    let probes = probes.clone();
    let mut draining = probes.draining();
    tokio::spawn(async move {
        loop {
            // Whoever drops the sender has ended: then there is only the pause.
            let told = async {
                if draining.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = told => {}
            }
            report(&reporter, &probes, &names).await;
        }
    });
    server::grpc(with_reflection(Routes::new(health), services))
}

async fn report(reporter: &HealthReporter, probes: &Probes, names: &[&'static str]) {
    let ready = probes.not_ready().is_empty();
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in names {
        reporter.set_service_status(*name, status).await;
    }
}

/// The descriptors are of all services; those that a listener has are named.
fn with_reflection(routes: Routes, services: &[&'static str]) -> Routes {
    let own = [
        tonic_health::pb::health_server::SERVICE_NAME,
        tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME,
    ];
    let described = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let named = own.iter().chain(services).fold(described, |all, name| all.with_service_name(*name));
    match named.build_v1() {
        Ok(reflection) => routes.add_service(reflection),
        Err(error) => {
            tracing::error!(%error, "no reflection");
            routes
        }
    }
}
