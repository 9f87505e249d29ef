//! What a [`Server`] looks like from outside.

use super::server::{Client, Server, Traffic};

impl Server {
    /// Who is there, in the order in which they came.
    pub fn clients(&self) -> impl Iterator<Item = Client> {
        self.connections.iter().map(|(id, connection)| {
            let account = connection.account();
            let routes = account.and_then(|account| self.routes.get(account));
            let said = connection.said();
            let say =
                |field: fn(&super::Connect) -> &Option<String>| said.and_then(|said| field(said).clone());
            Client {
                connection: *id,
                address: connection.arrival.address.clone(),
                name: say(|said| &said.name),
                lang: say(|said| &said.lang),
                version: say(|said| &said.version),
                account: account.map(str::to_owned),
                subscriptions: routes.map_or(0, |routes| routes.of(*id)),
            }
        })
    }

    /// What clients sent and got so far.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }
}
