//! What a server keeps of one connection: how far it has read, what the client asked for, when to look after it.

use super::{Connect, Limits, Parser};
use crate::time::{Mono, Now};

/// Who may come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Auth {
    /// Everybody.
    Open,
    /// Who knows this token.
    Token(String),
    /// Who knows this name and password.
    User {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

impl Auth {
    pub(super) const fn is_required(&self) -> bool {
        !matches!(self, Self::Open)
    }

    fn admits(&self, said: &Connect) -> bool {
        let is = |said: &Option<String>, wanted: &str| {
            said.as_deref().is_some_and(|said| same(said.as_bytes(), wanted.as_bytes()))
        };
        match self {
            Self::Open => true,
            Self::Token(token) => is(&said.auth_token, token),
            // Both are compared, so that the time taken does not tell which was wrong.
            Self::User { user, password } => is(&said.user, user) & is(&said.pass, password),
        }
    }
}

/// Compares secrets in a time that depends on nothing but the length of what was said.
fn same(said: &[u8], wanted: &[u8]) -> bool {
    let differences = said.iter().zip(wanted.iter().cycle()).fold(0, |sum, (a, b)| sum | (a ^ b));
    differences == 0 && said.len() == wanted.len()
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Connection {
    pub(super) parser: Parser,
    /// Everything it has said about itself so far.
    said: Connect,
    /// Whether it has said who it is, where that is asked.
    pub(super) admitted: bool,
    /// When it was last heard.
    pub(super) heard: Mono,
    /// Pings without an answer.
    pub(super) pings_out: u32,
    /// When to look after it.
    pub(super) due: Mono,
}

impl Connection {
    pub(super) fn new(now: Now, limits: &Limits, auth: &Auth) -> Self {
        let wait_ms = if auth.is_required() { limits.auth_timeout_ms } else { limits.ping_interval_ms };
        Self {
            parser: Parser::new(limits, auth.is_required()),
            said: Connect::default(),
            admitted: !auth.is_required(),
            heard: now.mono,
            pings_out: 0,
            due: now.mono.plus_ms(wait_ms),
        }
    }

    /// Adds what a `CONNECT` names to what was said before. Whether the client may come.
    pub(super) fn hear(&mut self, connect: Connect, auth: &Auth) -> bool {
        let Connect {
            verbose,
            pedantic,
            echo,
            headers,
            no_responders,
            protocol,
            user,
            pass,
            auth_token,
            name,
        } = connect;
        let said = &mut self.said;
        said.verbose = verbose.or(said.verbose);
        said.pedantic = pedantic.or(said.pedantic);
        said.echo = echo.or(said.echo);
        said.headers = headers.or(said.headers);
        said.no_responders = no_responders.or(said.no_responders);
        said.protocol = protocol.or(said.protocol);
        said.user = user.or_else(|| said.user.take());
        said.pass = pass.or_else(|| said.pass.take());
        said.auth_token = auth_token.or_else(|| said.auth_token.take());
        said.name = name.or_else(|| said.name.take());
        auth.admits(said)
    }

    // What holds before a client says otherwise is what the real server assumes.

    pub(super) fn verbose(&self) -> bool {
        self.said.verbose.unwrap_or(true)
    }

    pub(super) fn pedantic(&self) -> bool {
        self.said.pedantic.unwrap_or(true)
    }

    pub(super) fn echo(&self) -> bool {
        self.said.echo.unwrap_or(true)
    }

    pub(super) fn headers(&self) -> bool {
        self.said.headers.unwrap_or(false)
    }

    pub(super) fn no_responders(&self) -> bool {
        self.said.no_responders.unwrap_or(false)
    }
}
