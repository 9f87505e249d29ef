//! What a client says about itself in `CONNECT`.
//!
//! Every field is optional: a second `CONNECT` changes only what it names, as on the real server. Unknown fields are
//! ignored, a field of the wrong type is not. Unlike the real server, names are matched with regard to case: no client
//! we know spells them differently.

use serde::Deserialize;
use serde_json::Value;

/// The argument of `CONNECT`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// Whether each accepted operation is answered by `+OK`.
    pub verbose: Option<bool>,
    /// Whether publish subjects are checked.
    pub pedantic: Option<bool>,
    /// Whether the client's own messages come back to it.
    pub echo: Option<bool>,
    /// Whether it understands headers.
    pub headers: Option<bool>,
    /// Whether it wants to be told that nobody listens to its requests.
    pub no_responders: Option<bool>,
    /// 1 if it understands an `INFO` at any time.
    pub protocol: Option<i64>,
    /// Who it is.
    pub user: Option<String>,
    /// The proof of that.
    pub pass: Option<String>,
    /// A proof that needs no name.
    pub auth_token: Option<String>,
    /// The public key by which it is known.
    pub nkey: Option<String>,
    /// The nonce it was greeted with, signed by that key.
    pub sig: Option<String>,
    /// What it calls itself, for people.
    pub name: Option<String>,
    /// Which library it uses, for people.
    pub lang: Option<String>,
    /// Which version of it, for people.
    pub version: Option<String>,
}

impl Connect {
    /// Reads the JSON of a control line; `null` says nothing. `None` when it is not an object, or a field is of the
    /// wrong type.
    #[must_use]
    pub fn decode(line: &[u8]) -> Option<Self> {
        // Through a value, so that a field given twice is not an error: the last counts.
        match serde_json::from_slice(line).ok()? {
            Value::Null => Some(Self::default()),
            object @ Value::Object(_) => serde_json::from_value(object).ok(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// This, and for what it does not name, what was said before.
    pub(super) fn over(self, before: Self) -> Self {
        Self {
            verbose: self.verbose.or(before.verbose),
            pedantic: self.pedantic.or(before.pedantic),
            echo: self.echo.or(before.echo),
            headers: self.headers.or(before.headers),
            no_responders: self.no_responders.or(before.no_responders),
            protocol: self.protocol.or(before.protocol),
            user: self.user.or(before.user),
            pass: self.pass.or(before.pass),
            auth_token: self.auth_token.or(before.auth_token),
            nkey: self.nkey.or(before.nkey),
            sig: self.sig.or(before.sig),
            name: self.name.or(before.name),
            lang: self.lang.or(before.lang),
            version: self.version.or(before.version),
        }
    }
}
