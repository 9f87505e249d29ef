//! `egress` of an application: where its effects may call, and nowhere else.
//!
//! ```yaml
//! egress: ["payments.internal:443", "nats:payments.>"]   # host:port for HTTP, nats:<filter> for NATS services
//! ```
//!
//! Subjects of the platform and of the broker can never be allowed: an effect that could publish there could write history.

use super::reader::Reader;
use super::yaml::Node;
use crate::wire::subject::Filter;
use std::collections::BTreeSet;

/// Subjects that are not for effects.
const RESERVED: [&str; 4] = ["tenant.>", "$JS.>", "$SYS.>", "$KV.>"];

/// Where effects may call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Egress {
    targets: BTreeSet<String>,
    subjects: Vec<Filter>,
}

impl Egress {
    /// HTTP targets, `host:port` each, and no subject.
    pub fn to(targets: impl IntoIterator<Item = String>) -> Self {
        Self { targets: targets.into_iter().collect(), subjects: Vec::new() }
    }

    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let mut egress = Self::default();
        for item in reader.items(node) {
            let Some(text) = reader.text(item) else { continue };
            let Some(subject) = text.strip_prefix("nats:") else {
                egress.targets.insert(text);
                continue;
            };
            match Filter::parse(subject) {
                Ok(filter) => {
                    let reserved = RESERVED.into_iter().find(|reserved| {
                        Filter::parse(reserved).is_ok_and(|reserved| reserved.overlaps(&filter))
                    });
                    if let Some(reserved) = reserved {
                        let message = format!("`{subject}` takes in `{reserved}`, which is not for effects");
                        reader.fault(item.span, message, None);
                    }
                    egress.subjects.push(filter);
                }
                Err(error) => {
                    reader.fault(item.span, format!("`{subject}` is no filter of subjects: {error}"), None)
                }
            }
        }
        egress
    }

    /// Whether HTTP may go to a `host:port`.
    #[must_use]
    pub fn allows_target(&self, target: &str) -> bool {
        self.targets.contains(target)
    }

    /// Whether a request may go to a subject.
    #[must_use]
    pub fn allows_subject(&self, subject: &str) -> bool {
        self.subjects.iter().any(|filter| filter.matches(subject))
    }
}
