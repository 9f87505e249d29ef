//! An address as somebody wrote it. It may say who calls and by which password: nothing that shows it does.

use std::fmt;

/// An address, or several separated by commas. Its `Display` and its `Debug` leave out what stands before an `@`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// What stands for what is not shown.
    pub const HIDDEN: &str = "***";

    /// As it was written: for whoever connects.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_credentials(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", without_credentials(&self.0))
    }
}

fn scheme(address: &str) -> String {
    address.split_once("://").map_or_else(String::new, |(scheme, _)| format!("{scheme}://"))
}

fn without_credentials(text: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    // Where a password may have begun that has commas in it: rather too much is left out than half of it shown.
    let mut since = 0;
    for part in text.split(',') {
        let begun = if part.contains("://") { shown.len() } else { since };
        since = match part.rsplit_once('@') {
            Some((before, host)) => {
                let scheme = scheme(shown.get(begun).map_or(before, String::as_str));
                shown.truncate(begun);
                shown.push(format!("{scheme}{}@{host}", Address::HIDDEN));
                shown.len()
            }
            None => {
                shown.push(part.to_owned());
                begun
            }
        };
    }
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_host_is_not_shown() {
        for (written, shown) in [
            ("nats://host:4222", "nats://host:4222"),
            ("nats://a:1,b:2, c", "nats://a:1,b:2, c"),
            ("", ""),
            ("nats://token@host", "nats://***@host"),
            ("u:s3cret@host:1", "***@host:1"),
            ("nats://u:s3cret@a:1,nats://v:s3cret@b:2", "nats://***@a:1,nats://***@b:2"),
            ("u:s3cret@a:1,v:s3cret@b:2", "***@a:1,***@b:2"),
            ("nats://a:1,nats://v:s3cret@b:2", "nats://a:1,nats://***@b:2"),
            ("nats://u:s3@cret@host", "nats://***@host"),
            ("nats://u:s3/cret@host", "nats://***@host"),
            ("nats://u:s3,cr,et@host,nats://b", "nats://***@host,nats://b"),
            ("nats:/u:s3cret@host", "***@host"),
        ] {
            let address = Address::from(written);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("{shown:?}"));
            assert_eq!(address.as_str(), written);
        }
    }
}
