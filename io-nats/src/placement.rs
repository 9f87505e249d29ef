//! The bucket `TENANT_PLACEMENT`: a JetStream key-value bucket with a key for every tenant that is placed.
//!
//! ```text
//! $KV.TENANT_PLACEMENT.<tenant>    {"partition": 1}
//! ```
//!
//! Read as the log it is, a revision after the other: so an answer that is older than one before changes nothing. A key is
//! written once; whoever wants to write it again is told what it says.
//!
//! Not here: what a node does when it changes.

use crate::broker::{ApiAnswer, Broker, StoredMessage, Which};
use bytes::Bytes;
use cloudlysis_core::Outcome;
use cloudlysis_core::jetstream::api::{ApiError, StreamInfo, err_code};
use cloudlysis_core::placement::{PARTITION_MAX, Placement, PlacementError, TENANTS_MAX};
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::wire::answer::{PublishRefused, publish_outcome};
use cloudlysis_core::wire::headers::Headers;
use cloudlysis_core::wire::id::TenantId;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::tenant_of;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The bucket's name.
pub const BUCKET: &str = "TENANT_PLACEMENT";
const STREAM: &str = "KV_TENANT_PLACEMENT";
const PREFIX: &str = "$KV.TENANT_PLACEMENT.";

/// Why a placement cannot be read or written.
#[derive(Debug, Error)]
pub enum BucketError {
    /// There is no bucket.
    #[error("there is no bucket {BUCKET}: `cloudlysis tenant place` makes it with its first tenant")]
    Missing,
    /// The broker refuses.
    #[error("the broker refuses bucket {BUCKET}: {} ({})", .0.description, .0.err_code)]
    Refused(ApiError),
    /// The broker does not answer.
    #[error("the broker does not answer; ask again")]
    NoAnswer,
    /// The broker has no room.
    #[error("the broker has no room for bucket {BUCKET}")]
    Full,
    /// The tenant is somewhere else.
    #[error(
        "tenant `{tenant}` is in partition {partition}, which has what its messages caused: a tenant stays where it is placed"
    )]
    Elsewhere {
        /// Who.
        tenant: String,
        /// Where.
        partition: u32,
    },
    /// There are too many.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

/// Everybody who has ever had an event, as far as the stream still has it.
///
/// # Errors
/// When the broker does not say; more than [`TENANTS_MAX`] cannot be placed.
pub async fn tenants_with_events(broker: &Broker) -> Result<BTreeSet<TenantId>, BucketError> {
    let (mut tenants, mut offset) = (BTreeSet::new(), 0);
    loop {
        let endpoint = format!("STREAM.INFO.{}", PlatformStream::AggregateEvents);
        let page = match broker
            .api::<StreamInfo>(&endpoint, &json!({ "subjects_filter": ">", "offset": offset }))
            .await
        {
            ApiAnswer::Ok(info) => info.state.subjects,
            ApiAnswer::Error(error) if error.err_code == err_code::STREAM_NOT_FOUND => return Ok(tenants),
            ApiAnswer::Error(error) => return Err(BucketError::Refused(error)),
            ApiAnswer::NoAnswer => return Err(BucketError::NoAnswer),
        };
        if page.is_empty() {
            return Ok(tenants);
        }
        offset += page.len();
        tenants.extend(page.keys().filter_map(|subject| tenant_of(subject)));
        if tenants.len() > TENANTS_MAX {
            return Err(PlacementError::TooMany.into());
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    partition: u32,
}

/// The bucket, as far as it has been read.
#[derive(Clone, Debug)]
pub struct Bucket {
    broker: Broker,
    /// Which bucket of that name: one that was made anew is read from its beginning.
    created: Option<String>,
    next_revision: u64,
    placed: BTreeMap<TenantId, u32>,
}

impl Bucket {
    /// Behind this broker.
    #[must_use]
    pub const fn new(broker: Broker) -> Self {
        Self { broker, created: None, next_revision: 1, placed: BTreeMap::new() }
    }

    /// Reads on. What cannot be read is logged, and leaves a tenant where it was.
    ///
    /// # Errors
    /// When there is no bucket, or the broker does not say what is in it, or too much is.
    pub async fn read(&mut self) -> Result<Placement, BucketError> {
        let info = match self.broker.api::<StreamInfo>(&format!("STREAM.INFO.{STREAM}"), &Value::Null).await {
            ApiAnswer::Ok(info) => info,
            ApiAnswer::Error(error) if error.err_code == err_code::STREAM_NOT_FOUND => {
                return Err(BucketError::Missing);
            }
            ApiAnswer::Error(error) => return Err(BucketError::Refused(error)),
            ApiAnswer::NoAnswer => return Err(BucketError::NoAnswer),
        };
        if self.created.as_ref() != Some(&info.created) {
            *self = Self { created: Some(info.created), ..Self::new(self.broker.clone()) };
        }
        while self.next_revision <= info.state.last_seq {
            let every = format!("{PREFIX}>");
            match self.broker.message(STREAM, Which::NextOn(&every, self.next_revision)).await {
                ApiAnswer::Ok(Some(message)) => self.take(&message),
                ApiAnswer::Ok(None) => break,
                ApiAnswer::Error(error) => return Err(BucketError::Refused(error)),
                ApiAnswer::NoAnswer => return Err(BucketError::NoAnswer),
            }
        }
        Ok(Placement::of(self.placed.clone())?)
    }

    fn take(&mut self, message: &StoredMessage) {
        self.next_revision = message.seq + 1;
        let key = message.subject.strip_prefix(PREFIX).unwrap_or_default();
        let Some(tenant) = TenantId::from_token(key) else {
            tracing::error!(key, "a key of {BUCKET} is no tenant");
            return;
        };
        if message.headers.get("KV-Operation").is_some() {
            self.placed.remove(&tenant);
            return;
        }
        match serde_json::from_slice::<Entry>(&message.payload) {
            Ok(Entry { partition }) if partition <= PARTITION_MAX => {
                self.placed.insert(tenant, partition);
            }
            Ok(Entry { partition }) => tracing::error!(key, partition, "there is no such partition"),
            Err(error) => tracing::error!(key, %error, "what {BUCKET} says cannot be read"),
        }
    }

    /// Places a tenant for good; says whether it was placed nowhere before.
    ///
    /// # Errors
    /// When it is somewhere else, or nobody knows.
    pub async fn place(
        &mut self,
        tenant: &TenantId,
        partition: u32,
        replicas: u32,
    ) -> Result<bool, BucketError> {
        match self.read().await {
            Err(BucketError::Missing) => self.make(replicas).await?,
            read => drop(read?),
        }
        if !self.placed.contains_key(tenant) && self.placed.len() == TENANTS_MAX {
            return Err(PlacementError::TooMany.into());
        }
        let mut headers = Headers::default();
        headers.append("Nats-Expected-Last-Subject-Sequence", "0");
        let entry = serde_json::to_vec(&Entry { partition }).expect("an entry serialises");
        let subject = format!("{PREFIX}{}", tenant.token());
        let answer = self.broker.publish(subject, &headers, Bytes::from(entry)).await;
        match publish_outcome(answer, Quirks::NONE) {
            Outcome::Done(_) => Ok(true),
            // Somebody placed it: just now, or before, or the same request without hearing of it.
            Outcome::Refused(PublishRefused::Conflict) => {
                self.read().await?;
                match self.placed.get(tenant) {
                    Some(own) if *own == partition => Ok(false),
                    Some(own) => Err(BucketError::Elsewhere { tenant: tenant.token(), partition: *own }),
                    None => Err(BucketError::NoAnswer),
                }
            }
            Outcome::Refused(PublishRefused::Misconfigured { err_code, description }) => {
                Err(BucketError::Refused(ApiError { code: 400, err_code, description }))
            }
            Outcome::Refused(PublishRefused::Full | PublishRefused::TooLarge) => Err(BucketError::Full),
            Outcome::Unknown => Err(BucketError::NoAnswer),
        }
    }

    /// As clients make buckets.
    async fn make(&self, replicas: u32) -> Result<(), BucketError> {
        let config = json!({
            "name": STREAM, "subjects": [format!("{PREFIX}>")], "retention": "limits", "storage": "file",
            "max_msgs_per_subject": 5, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
            "max_msg_size": -1, "discard": "new", "num_replicas": replicas, "duplicate_window": 120_000_000_000_u64,
            "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true,
        });
        match self.broker.api::<StreamInfo>(&format!("STREAM.CREATE.{STREAM}"), &config).await {
            ApiAnswer::Ok(_) => Ok(()),
            ApiAnswer::Error(error) if error.err_code == err_code::STREAM_NAME_EXISTS => Ok(()),
            ApiAnswer::Error(error) => Err(BucketError::Refused(error)),
            ApiAnswer::NoAnswer => Err(BucketError::NoAnswer),
        }
    }
}
