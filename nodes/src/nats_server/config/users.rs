//! What the fields of a file mean: who may come, and what they may do.

use super::fields::{Field, each};
use super::value::{Node, Problem, Value};
use cloudlysis_core::nats::Auth;
use cloudlysis_core::nats::auth::{Credentials, GLOBAL_ACCOUNT, Grant, Secret, Users};
use cloudlysis_core::nats::nkey::PublicKey;
use cloudlysis_core::nats::permissions::{Answering, Lists, Permissions, Subjects};
use std::time::Duration;

/// Everything a file says about people.
#[derive(Default)]
pub(super) struct Everybody {
    single: Option<(Node, Single)>,
    users: Vec<User>,
    /// Whether anybody is named at all: a server without users is open.
    restricted: bool,
    accounts: Vec<String>,
    jetstream_accounts: Vec<(Node, String)>,
    pub(super) no_auth_user: Option<(Node, String)>,
    pub(super) system_account: Option<(Node, String)>,
    pub(super) timeout: Option<Duration>,
    pub(super) allow_non_tls: bool,
}

#[derive(Default)]
struct Single {
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
}

struct User {
    at: Node,
    credentials: Credentials,
    account: String,
    permissions: Option<Permissions>,
}

impl Everybody {
    /// Who may come, and the account that has JetStream.
    pub(super) fn decide(self) -> Result<(Auth, String), Problem> {
        if let Some((at, name)) = &self.system_account
            && !self.accounts.contains(name)
            && name != "$SYS"
        {
            return Err(at.problem(format!("system account {name:?} is not one of the accounts")));
        }
        let jetstream_account = match &self.jetstream_accounts[..] {
            [] => GLOBAL_ACCOUNT.to_owned(),
            [(_, only)] => only.clone(),
            [_, (at, _), ..] => {
                return Err(at.problem("JetStream in several accounts is not supported by this server"));
            }
        };
        let named = self.no_auth_user.as_ref();
        if let Some((at, single)) = self.single {
            if self.restricted {
                return Err(at.problem("can not have a single user/pass or token and a list of users"));
            }
            let auth = match (single.token, single.user, single.password) {
                (Some(token), None, None) => Auth::token(&token),
                (None, Some(user), Some(password)) => Auth::user(&user, &password),
                (Some(_), _, _) => return Err(at.problem("can not have a token and a user")),
                (None, _, _) => return Err(at.problem("a user needs a password, and a password a user")),
            };
            if let Some((at, _)) = named {
                return Err(at.problem("no_auth_user can not be used with a single user or a token"));
            }
            return Ok((auth, jetstream_account));
        }
        if !self.restricted {
            return match named {
                Some((at, _)) => Err(at.problem("no_auth_user needs a list of users")),
                None => Ok((Auth::Open, jetstream_account)),
            };
        }
        let blame = named.map(|(at, _)| at).or_else(|| self.users.last().map(|user| &user.at)).cloned();
        let users = self
            .users
            .into_iter()
            .map(|user| (user.credentials, Grant { account: user.account, permissions: user.permissions }));
        let name = named.map(|(_, name)| name.as_str());
        match (Users::new(users, name), blame) {
            (Ok(users), _) => Ok((Auth::Users(users), jetstream_account)),
            (Err(error), Some(at)) => Err(at.problem(error.to_string())),
            (Err(error), None) => unreachable!("nobody is there, and still: {error}"),
        }
    }
}

pub(super) fn authorization(
    node: &Node,
    out: &mut Everybody,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let (mut single, mut users, mut default) = (Single::default(), None, None);
    if let Value::Bool(_) = node.value {
        return Err(node.problem("expected a map to define authorization"));
    }
    each(node.map()?, problems, |key, node, problems| {
        match key {
            "user" | "username" => single.user = Some(node.text()?),
            "pass" | "password" => single.password = Some(plain(node)?),
            "token" => single.token = Some(plain(node)?),
            "timeout" => out.timeout = Some(node.duration()?),
            "users" => users = Some(node.clone()),
            "default_permission" | "default_permissions" | "permissions" => {
                default = Some(permissions(node, problems)?);
            }
            "auth_callout" | "proxy_required" => return Ok(Field::Unsupported),
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    if single.user.is_some() || single.password.is_some() || single.token.is_some() {
        out.single = Some((node.clone(), single));
    }
    if let Some(node) = users {
        list(&node, GLOBAL_ACCOUNT, default.as_ref(), out, problems)?;
    }
    Ok(())
}

pub(super) fn accounts(node: &Node, out: &mut Everybody, problems: &mut Vec<Problem>) -> Result<(), Problem> {
    if let Value::List(nodes) = &node.value {
        for node in nodes {
            out.accounts.push(node.text()?);
        }
        return Ok(());
    }
    for account in node.map()? {
        let name = &account.key;
        if name == GLOBAL_ACCOUNT {
            problems
                .push(Problem { at: account.at.clone(), text: format!("{name:?} is a Reserved Account") });
        }
        out.accounts.push(name.clone());
        let (mut users, mut default) = (None, None);
        let fields = match account.node.map() {
            Ok(fields) => fields,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        each(fields, problems, |key, node, problems| {
            match key {
                "users" => users = Some(node.clone()),
                "default_permissions" => default = Some(permissions(node, problems)?),
                "jetstream" if has_jetstream(node)? => {
                    out.jetstream_accounts.push((node.clone(), name.clone()))
                }
                "jetstream" => {}
                "imports" | "exports" | "nkey" | "limits" | "mappings" | "maps" | "msg_trace"
                | "trace_dest" | "cluster_traffic" => return Ok(Field::Unsupported),
                _ => return Ok(Field::Unknown),
            }
            Ok(Field::Read)
        });
        if let Some(node) = users {
            list(&node, name, default.as_ref(), out, problems)?;
        }
    }
    Ok(())
}

fn has_jetstream(node: &Node) -> Result<bool, Problem> {
    match &node.value {
        Value::Bool(on) => Ok(*on),
        Value::Text(word) if matches!(word.as_str(), "enabled" | "enable") => Ok(true),
        Value::Text(word) if matches!(word.as_str(), "disabled" | "disable") => Ok(false),
        Value::Map(_) => Err(node.problem("JetStream limits of an account are not supported by this server")),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) => {
            Err(node.problem("expected map, bool or string to define JetStream"))
        }
    }
}

fn list(
    node: &Node,
    account: &str,
    default: Option<&Permissions>,
    out: &mut Everybody,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    out.restricted = true;
    for node in node.list()? {
        match user(node, account, problems) {
            Ok(user) => {
                let permissions = user.permissions.or_else(|| default.cloned());
                out.users.push(User { permissions, ..user });
            }
            Err(problem) => problems.push(problem),
        }
    }
    Ok(())
}

fn user(node: &Node, account: &str, problems: &mut Vec<Problem>) -> Result<User, Problem> {
    let (mut name, mut password, mut key_text, mut own) = (None, None, None, None);
    each(node.map()?, problems, |key, node, problems| {
        match key {
            "user" | "username" => name = Some(node.text()?),
            "pass" | "password" => password = Some(plain(node)?),
            "nkey" => key_text = Some((node.clone(), node.text()?)),
            "permission" | "permissions" | "authorization" => own = Some(permissions(node, problems)?),
            "allowed_connection_types" | "connection_types" | "clients" | "account" | "proxy_required" => {
                return Ok(Field::Unsupported);
            }
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    let credentials = match (name, password, key_text) {
        (Some(user), Some(password), None) => Credentials::Password { user, password: Secret::new(password) },
        (None, None, Some((at, key))) => {
            let key =
                PublicKey::decode(&key).map_err(|_| at.problem("not a valid public nkey for a user"))?;
            Credentials::Key(key)
        }
        (_, _, Some((at, _))) => return Err(at.problem("nkey users do not take usernames or passwords")),
        (_, _, None) => return Err(node.problem("user entry requires a user and a password")),
    };
    Ok(User { at: node.clone(), credentials, account: account.to_owned(), permissions: own })
}

/// A secret that is compared as it is.
fn plain(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
        return Err(node.problem("bcrypt passwords are not supported by this server"));
    }
    Ok(text)
}

fn permissions(node: &Node, problems: &mut Vec<Problem>) -> Result<Permissions, Problem> {
    let mut out = Permissions::default();
    each(node.map()?, problems, |key, node, problems| {
        match key {
            "pub" | "publish" | "import" => out.publish = lists(node, false, problems)?,
            "sub" | "subscribe" | "export" => out.subscribe = lists(node, true, problems)?,
            "publish_allow_responses" | "allow_responses" => out.answering = answering(node, problems)?,
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    Ok(out)
}

fn lists(node: &Node, groups: bool, problems: &mut Vec<Problem>) -> Result<Lists, Problem> {
    let Value::Map(entries) = &node.value else {
        return Ok(Lists { allow: subjects(node, groups)?, deny: Subjects::default() });
    };
    let mut out = Lists::default();
    each(entries, problems, |key, node, _| {
        match key {
            "allow" => out.allow = subjects(node, groups)?,
            "deny" => out.deny = subjects(node, groups)?,
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    Ok(out)
}

fn subjects(node: &Node, groups: bool) -> Result<Subjects, Problem> {
    let texts = node.texts()?;
    Subjects::new(texts.iter().map(String::as_str), groups).map_err(|error| node.problem(error.to_string()))
}

fn answering(node: &Node, problems: &mut Vec<Problem>) -> Result<Option<Answering>, Problem> {
    if let Value::Bool(on) = node.value {
        return Ok(on.then_some(Answering::DEFAULT));
    }
    let mut out = Answering::DEFAULT;
    each(node.map()?, problems, |key, node, _| {
        match key {
            // The real server takes 0 for its default, and less for no bound.
            "max" | "max_msgs" | "max_messages" | "max_responses" => match node.integer()? {
                0 => {}
                max if max < 0 => out.count_max = None,
                _ => out.count_max = Some(node.number()?),
            },
            "expires" | "expiration" | "ttl" => {
                let ttl = node.duration()?;
                if !ttl.is_zero() {
                    out.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
                }
            }
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    });
    Ok(Some(out))
}
