//! `cloudlysis tenant`: where tenants are, in the bucket that nodes follow.

use super::{CommandError, say};
use crate::cli::{PlacementBroker, Tenant};
use cloudlysis_core::placement::{Placement, read_tenant};
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use cloudlysis_io_nats::placement::{Bucket, BucketError};
use serde_json::json;

pub(super) async fn run(what: Tenant) -> Result<(), CommandError> {
    match what {
        Tenant::Ls { at } => {
            let map = match open(&at).await?.read().await {
                Ok(Placement::Map(map)) => map,
                Ok(Placement::One) | Err(BucketError::Missing) => Default::default(),
                Err(error) => return Err(error.into()),
            };
            if at.json {
                let all: serde_json::Map<_, _> =
                    map.iter().map(|(tenant, partition)| (tenant.token(), json!(partition))).collect();
                say(&json!({ "tenants": all }).to_string());
            } else {
                map.iter().for_each(|(tenant, partition)| say(&format!("{}  {partition}", tenant.token())));
            }
            Ok(())
        }
        Tenant::Place { at, tenants, partition, replicas } => {
            let mut bucket = open(&at).await?;
            for tenant in tenants {
                let tenant = read_tenant(&tenant).map_err(|error| CommandError::Tenant { tenant, error })?;
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

async fn open(at: &PlacementBroker) -> Result<Bucket, CommandError> {
    let connection = Connection::open(&Options {
        url: at.broker.clone(),
        name: "cloudlysis-tenant".to_owned(),
        fail_fast: true,
        seed: u64::from(std::process::id()),
    })
    .await?;
    Ok(Bucket::new(Broker::new(connection)))
}
