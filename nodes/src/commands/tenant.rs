//! `cloudlysis tenant`: where tenants are, in the bucket that nodes follow.

use super::{CommandError, say};
use crate::cli::{PlacementBroker, Tenant};
use cloudlysis_core::placement::{Placement, read_tenant};
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use cloudlysis_io_nats::placement::{Bucket, BucketError, tenants_with_events};
use serde_json::json;

pub(super) async fn run(what: Tenant) -> Result<(), CommandError> {
    match what {
        Tenant::Ls { at } => {
            let placement = match open(&at).await?.1.read().await {
                Ok(placement) => placement,
                Err(BucketError::Missing) => Placement::default(),
                Err(error) => return Err(error.into()),
            };
            if at.json {
                let all: serde_json::Map<_, _> =
                    placement.iter().map(|(tenant, partition)| (tenant.token(), json!(partition))).collect();
                say(&json!({ "tenants": all }).to_string());
            } else {
                placement
                    .iter()
                    .for_each(|(tenant, partition)| say(&format!("{}  {partition}", tenant.token())));
            }
            Ok(())
        }
        Tenant::Place { at, tenants, existing, partition, replicas } => {
            let (broker, mut bucket) = open(&at).await?;
            let named = tenants
                .into_iter()
                .map(|tenant| read_tenant(&tenant).map_err(|error| CommandError::Tenant { tenant, error }));
            let mut tenants = named.collect::<Result<Vec<_>, _>>()?;
            if existing {
                tenants.extend(tenants_with_events(&broker).await?);
            }
            for tenant in tenants {
                let changed = bucket.place(&tenant, partition, replicas).await?;
                let before = if changed { "" } else { ", as before" };
                say(&if at.json {
                    json!({ "tenant_id": tenant, "partition": partition, "changed": changed }).to_string()
                } else {
                    format!("{} is in partition {partition}{before}", tenant.token())
                });
            }
            Ok(())
        }
    }
}

async fn open(at: &PlacementBroker) -> Result<(Broker, Bucket), CommandError> {
    let connection = Connection::open(&Options {
        url: at.broker.clone(),
        credentials: at.broker_credentials.clone(),
        name: "cloudlysis-tenant".to_owned(),
        fail_fast: true,
        seed: u64::from(std::process::id()),
    })
    .await?;
    let broker = Broker::new(connection);
    Ok((broker.clone(), Bucket::new(broker)))
}
