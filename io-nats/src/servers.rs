//! What an address of the broker says: where servers are, and who they are told that we are.

use crate::address::Address;
use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

/// What the client speaks.
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// Servers of one broker. Whichever of them is connected to is told the same.
pub(crate) struct Servers {
    /// Without who calls: the client writes them into its log.
    pub(crate) addresses: Vec<ServerAddr>,
    pub(crate) login: Option<Login>,
}

/// Who calls.
#[derive(PartialEq, Eq)]
pub(crate) enum Login {
    /// Whoever has this.
    Token(String),
    /// A user.
    User {
        /// Who.
        name: String,
        /// By which password.
        password: String,
    },
}

/// Whether an address leads to servers.
#[must_use]
pub fn is_usable(address: &Address) -> bool {
    Servers::read(address).is_some()
}

impl Servers {
    /// What an address says; `None` when it is none, or says that different servers are to be told different things.
    pub(crate) fn read(address: &Address) -> Option<Self> {
        let mut servers = Self { addresses: Vec::new(), login: None };
        for one in address.as_str().split(',') {
            let one: ServerAddr = one.trim().parse().ok()?;
            let login = Login::of(one.username(), one.password());
            if login.is_some() {
                if servers.login.is_some() && servers.login != login {
                    return None;
                }
                servers.login = login;
            }
            let mut url = one.into_inner();
            let leads_somewhere = url.has_host() && SCHEMES.contains(&url.scheme());
            if !leads_somewhere || !["", "/"].contains(&url.path()) {
                return None;
            }
            url.set_username("").ok()?;
            url.set_password(None).ok()?;
            servers.addresses.push(ServerAddr::from_url(url).ok()?);
        }
        Some(servers)
    }
}

impl Login {
    fn of(user: Option<&str>, password: Option<&str>) -> Option<Self> {
        let written = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match (user, password) {
            (None, None) => None,
            (Some(token), None) => Some(Self::Token(written(token))),
            (user, Some(password)) => {
                Some(Self::User { name: written(user.unwrap_or_default()), password: written(password) })
            }
        }
    }

    /// Has the client tell it.
    pub(crate) fn tell(&self, connect: ConnectOptions) -> ConnectOptions {
        match self {
            Self::Token(token) => connect.token(token.clone()),
            Self::User { name, password } => connect.user_and_password(name.clone(), password.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Option<Servers> {
        Servers::read(&address.into())
    }

    #[test]
    fn who_calls_is_read_and_kept_out_of_what_the_client_logs() {
        for (address, login) in [
            ("nats://host", None),
            ("host:4222", None),
            ("nats://t%3Dken@host", Some(Login::Token("t=ken".into()))),
            ("nats://shop:p%40ss@host:1", Some(Login::User { name: "shop".into(), password: "p@ss".into() })),
            ("shop:p@ss@host", Some(Login::User { name: "shop".into(), password: "p@ss".into() })),
            ("nats://a, tls://t@b:2 ,nats://t@[::1]:3", Some(Login::Token("t".into()))),
        ] {
            let servers = read(address).unwrap_or_else(|| panic!("{address} is an address"));
            assert!(servers.login == login, "{address}");
            assert!(servers.addresses.iter().all(|one| !one.as_url_str().contains('@')), "{address}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_no_address() {
        for address in [
            "",
            "nats://",
            "http://host",
            "ws://host",
            "nats://host:port",
            "nats://a,,b",
            "nats:/u:p@host",
            "nats://u:1/2@host",
            "nats://t@a,nats://other@b",
            "nats://u:p@a,nats://u:q@b",
        ] {
            assert!(read(address).is_none(), "{address}");
        }
    }
}
