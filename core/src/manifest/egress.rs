//! `egress` of an application: where its effects may call, and nowhere else.
//!
//! ```yaml
//! egress: ["payments.internal:443", "nats:payments.>"]   # host:port for HTTP, nats:<filter> for NATS services
//! ```
//!
//! An entry is one host and one port; filters of subjects alone have wildcards. An entry that no call could match is a
//! fault: who wrote it believes that it allows something.
//!
//! Subjects of the platform and of the broker can never be allowed: an effect that could publish there could write history.

use super::reader::Reader;
use super::yaml::Node;
use crate::wire::subject::Filter;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Subjects that are not for effects.
const RESERVED: [&str; 4] = ["tenant.>", "$JS.>", "$SYS.>", "$KV.>"];

/// What a subject begins with, where there may also be hosts.
pub(super) const NATS: &str = "nats:";

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
            let Some(subject) = text.strip_prefix(NATS) else {
                // A placeholder that is left has a fault of its own.
                if !text.contains("${") {
                    match target(&text) {
                        Ok(target) => {
                            egress.targets.insert(target);
                        }
                        Err(NoTarget { message, help }) => reader.fault(item.span, message, Some(help)),
                    }
                }
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

/// Its entries, for people.
impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subjects = self.subjects.iter().map(|filter| format!("{NATS}{}", filter.as_str()));
        let entries: Vec<String> = self.targets.iter().cloned().chain(subjects).collect();
        if entries.is_empty() { f.write_str("nothing") } else { f.write_str(&entries.join(", ")) }
    }
}

/// Why a text is no target.
pub(super) struct NoTarget {
    pub(super) message: String,
    pub(super) help: String,
}

/// A `host:port`, spelled as the client spells it when a call is made.
pub(super) fn target(text: &str) -> Result<String, NoTarget> {
    let no = |message: String, help: &str| Err(NoTarget { message, help: help.to_owned() });
    if text.is_empty() {
        return no("the entry is empty".into(), "an entry is `host:port` or `nats:<filter>`");
    }
    if text.contains("://") {
        return no(format!("`{text}` is a URL"), "an entry is `host:port`, for example `example.com:443`");
    }
    if text.contains('*') {
        return no(
            format!("`{text}` has a wildcard"),
            "`nats:` entries alone have wildcards; name each host",
        );
    }
    if text.contains('/') {
        return no(format!("`{text}` has a path or is a range"), "an entry is one host and one port");
    }
    // The colons of an IPv6 address are not those before a port.
    let Some((raw, port)) = text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
        return Err(NoTarget {
            message: format!("`{text}` has no port"),
            help: format!("`{text}:443` for https, `{text}:80` for http"),
        });
    };
    let number = port.parse::<u16>().ok().filter(|number| *number > 0 && !port.starts_with('+'));
    let Some(number) = number else {
        return no(format!("`{port}` is no port"), "a number from 1 to 65535");
    };
    Ok(format!("{}:{number}", host(raw)?))
}

fn host(raw: &str) -> Result<String, NoTarget> {
    let no = |what: &str, help: &str| {
        Err(NoTarget { message: format!("`{raw}` is no {what}"), help: help.to_owned() })
    };
    if let Some(inner) = raw.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return match address.map(|address| (address, address.to_ipv4_mapped())) {
            // The client writes these as any other IPv6 address, the standard library does not.
            Some((address, Some(_))) => {
                let [.., high, low] = address.segments();
                Ok(format!("[::ffff:{high:x}:{low:x}]"))
            }
            Some((address, None)) => Ok(format!("[{address}]")),
            None => no("IPv6 address", "for example `[::1]`"),
        };
    }
    let host = raw.to_ascii_lowercase();
    let name = host.strip_suffix('.').unwrap_or(&host);
    let is_plain = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if raw.contains(':') {
        return no("host", "an IPv6 address stands in brackets, for example `[::1]:80`");
    }
    if !name.split('.').all(is_plain) {
        let help = "letters, digits, `-`, `_` and dots; a name in another script by its `xn--` form";
        return no("host", help);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return no("IPv4 address", "four numbers from 0 to 255, for example `10.1.2.3:80`");
    }
    Ok(host)
}
