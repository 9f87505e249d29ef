//! Who may come, as whom, and what that user may do.
//!
//! ```text
//!  CONNECT ──► nkey and signature ─► key known?  ─┐
//!         ├──► user and pass ──────► both right? ─┼─► Grant: account, permissions
//!         ├──► auth_token ─────────► right?      ─┤
//!         └──► nothing of it ──────► no_auth_user?┘
//! ```
//!
//! Invariant: names and keys are unique, and the user of those who say nothing is one with a password.
//!
//! Never: hashed passwords, which cost their reader a tenth of a second each; JWT.

use super::Connect;
use super::nkey::PublicKey;
use super::permissions::Permissions;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// The account of those who belong to none.
pub const GLOBAL_ACCOUNT: &str = "$G";

/// A password or token. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Whether somebody knows it. The time it takes depends on nothing but the length of what was said.
    fn is_known(&self, said: Option<&str>) -> bool {
        let Some(said) = said.map(str::as_bytes) else { return false };
        let wanted = self.0.as_bytes();
        let differences = said.iter().zip(wanted.iter().cycle()).fold(0, |sum, (a, b)| sum | (a ^ b));
        differences == 0 && said.len() == wanted.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// How a user shows who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// By a name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By a signature.
    Key(PublicKey),
}

/// What comes with being admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The account it belongs to.
    pub account: String,
    /// What it may do; everything if absent.
    pub permissions: Option<Permissions>,
}

impl Default for Grant {
    fn default() -> Self {
        Self { account: GLOBAL_ACCOUNT.to_owned(), permissions: None }
    }
}

/// Why users do not go together.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UsersError {
    /// A name or key is given to two.
    #[error("Duplicate user {0:?} detected")]
    Duplicate(String),
    /// Who says nothing is to be somebody who is not there.
    #[error(
        "no_auth_user: {0:?} not present as user or nkey in authorization block or account configuration"
    )]
    NobodyOfThatName(String),
}

/// Users. See the module text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Users {
    by_name: BTreeMap<String, (Secret, Arc<Grant>)>,
    by_key: BTreeMap<PublicKey, Arc<Grant>>,
    nobody: Option<Arc<Grant>>,
}

impl Users {
    /// These users; who says nothing about itself is `no_auth_user`.
    ///
    /// # Errors
    /// [`UsersError`] if one is given twice, or there is no user of that name.
    pub fn new(
        users: impl IntoIterator<Item = (Credentials, Grant)>,
        no_auth_user: Option<&str>,
    ) -> Result<Self, UsersError> {
        let mut out = Self::default();
        for (credentials, grant) in users {
            let grant = Arc::new(grant);
            match credentials {
                Credentials::Password { user, password } => {
                    if out.by_name.insert(user.clone(), (password, grant)).is_some() {
                        return Err(UsersError::Duplicate(user));
                    }
                }
                Credentials::Key(key) => {
                    if out.by_key.insert(key, grant).is_some() {
                        return Err(UsersError::Duplicate("nkey".to_owned()));
                    }
                }
            }
        }
        if let Some(name) = no_auth_user {
            let there = out.by_name.get(name).map(|(_, grant)| grant.clone());
            out.nobody = Some(there.ok_or_else(|| UsersError::NobodyOfThatName(name.to_owned()))?);
        }
        Ok(out)
    }

    fn admit(&self, said: &Connect, nonce: Option<&str>) -> Option<Arc<Grant>> {
        // Where there are no keys, who shows one says nothing, as on the real server.
        if !self.by_key.is_empty()
            && let Some(key) = &said.nkey
        {
            let key = PublicKey::decode(key).ok()?;
            let grant = self.by_key.get(&key)?;
            return key.has_signed(nonce?, said.sig.as_deref()?).then(|| grant.clone());
        }
        let silent = said.user.is_none() && said.pass.is_none() && said.auth_token.is_none();
        if silent && let Some(nobody) = &self.nobody {
            return Some(nobody.clone());
        }
        let (password, grant) = self.by_name.get(said.user.as_deref()?)?;
        password.is_known(said.pass.as_deref()).then(|| grant.clone())
    }
}

/// Who may come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Auth {
    /// Everybody.
    Open,
    /// Who knows this token.
    Token(Secret),
    /// Who is one of these.
    Users(Users),
}

impl Auth {
    /// One user, who may do anything.
    #[must_use]
    pub fn user(user: &str, password: &str) -> Self {
        let password = Secret::new(password.to_owned());
        let by_name = [(user.to_owned(), (password, Arc::default()))].into();
        Self::Users(Users { by_name, ..Users::default() })
    }

    /// Who knows this.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self::Token(Secret::new(token.to_owned()))
    }

    /// What a client is that has not said anything; `None` if it must.
    pub(super) fn stranger(&self) -> Option<Arc<Grant>> {
        match self {
            Self::Open => Some(Arc::default()),
            Self::Token(_) => None,
            Self::Users(users) => users.nobody.clone(),
        }
    }

    pub(super) fn admit(&self, said: &Connect, nonce: Option<&str>) -> Option<Arc<Grant>> {
        match self {
            Self::Open => Some(Arc::default()),
            Self::Token(token) => token.is_known(said.auth_token.as_deref()).then(Arc::default),
            Self::Users(users) => users.admit(said, nonce),
        }
    }

    /// Whether there is anything to ask for.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether a client may sign something to come in.
    pub(super) fn has_keys(&self) -> bool {
        match self {
            Self::Open | Self::Token(_) => false,
            Self::Users(users) => !users.by_key.is_empty(),
        }
    }
}
