//! The flags of the command: the real server's, read as Go reads flags.
//!
//! - One dash or two, `-flag value`, `-flag=value`; a boolean flag takes a value only behind `=`.
//! - The first word that is no flag ends them; then a single word may be `help` or `version`.
//! - What a flag says counts more than what the file says.

use super::config::{self, Problems};
use super::settings::Settings;
use crate::broker::options::{HandshakeFirst, Listen, TlsOptions};
use crate::nats_server::config::{TLS_TIMEOUT_DEFAULT, jetstream_in};
use cloudlysis_core::nats::Auth;
use std::path::PathBuf;
use thiserror::Error;

/// What the command is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Show the flags.
    Help,
    /// Show the version.
    Version,
    /// Read the file, and say whether it can be used.
    Check(Flags),
    /// Tell a running server something.
    Signal(String),
    /// Run.
    Serve(Flags),
}

/// Why the flags cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FlagError {
    /// The real server shows its usage then, and ends as if all were well.
    #[error("{0}")]
    Usage(String),
    /// The real server says no more than this.
    #[error("{0}")]
    Refused(String),
}

/// What was said; `None` where nothing was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    host: Option<String>,
    port: Option<u16>,
    monitor: Option<Option<u16>>,
    server_name: Option<String>,
    config: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    ports_file_dir: Option<PathBuf>,
    log: Option<PathBuf>,
    log_time: Option<bool>,
    log_utc: Option<bool>,
    debug: Option<bool>,
    trace: Option<bool>,
    jetstream: Option<bool>,
    store_dir: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    tls: Option<bool>,
    tls_verify: Option<bool>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
}

/// Flags that mean something only to the real server.
const UNSUPPORTED: [&str; 15] = [
    "ms",
    "https_port",
    "client_advertise",
    "s",
    "syslog",
    "r",
    "remote_syslog",
    "routes",
    "cluster",
    "cluster_name",
    "no_advertise",
    "cluster_advertise",
    "connect_retries",
    "cluster_listen",
    "profile",
];

/// Flags with one value that may be left unread.
const TUNING: [&str; 2] = ["log_size_limit", "max_traced_msg_len"];

/// Reads the words behind the command's name.
///
/// # Errors
/// [`FlagError`] says what cannot be understood.
pub fn parse(words: &[String]) -> Result<Task, FlagError> {
    let (mut flags, mut asked, mut check) = (Flags::default(), None, false);
    let mut words = words.iter();
    let mut behind: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
        if bare.is_empty() {
            // A lone `--` only ends the flags.
            behind.extend(Some(word.as_str()).filter(|word| *word != "--"));
            behind.extend(words.by_ref().map(String::as_str));
            break;
        }
        let (name, inline) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || name.starts_with('-') {
            return Err(FlagError::Usage(format!("bad flag syntax: {word}")));
        }
        match name {
            "h" | "help" | "help_tls" => asked = asked.or(Some(Task::Help)),
            "v" | "version" => asked = asked.or(Some(Task::Version)),
            "t" => check = switch(name, inline)?,
            _ if flags.switch(name, inline)? => {}
            _ => {
                let value = || inline.map(str::to_owned).or_else(|| words.next().cloned());
                let value = Value { name, value: &mut { value } };
                if let Some(task) = flags.value(value)? {
                    asked = asked.or(Some(task));
                }
            }
        }
    }
    match behind.first().copied() {
        None => {}
        Some("help") => asked = Some(Task::Help),
        Some("version") => asked = Some(Task::Version),
        Some(word) => return Err(FlagError::Refused(format!("unrecognized command: {word:?}"))),
    }
    Ok(asked.unwrap_or(if check { Task::Check(flags) } else { Task::Serve(flags) }))
}

/// A flag whose value is read when it is known to take one.
struct Value<'v> {
    name: &'v str,
    value: &'v mut dyn FnMut() -> Option<String>,
}

impl Value<'_> {
    fn text(&mut self) -> Result<String, FlagError> {
        (self.value)().ok_or_else(|| FlagError::Usage(format!("flag needs an argument: -{}", self.name)))
    }

    fn path(&mut self) -> Result<PathBuf, FlagError> {
        self.text().map(PathBuf::from)
    }

    /// A port; -1 is any that is free.
    fn port(&mut self) -> Result<Option<u16>, FlagError> {
        let text = self.text()?;
        match text.parse::<i64>() {
            Ok(-1) => Ok(Some(0)),
            Ok(0) => Ok(None),
            number => {
                let port = number.ok().and_then(|number| u16::try_from(number).ok());
                port.map(Some).ok_or_else(|| invalid(self.name, &text))
            }
        }
    }
}

fn invalid(name: &str, value: &str) -> FlagError {
    FlagError::Usage(format!("invalid value {value:?} for flag -{name}: parse error"))
}

fn switch(name: &str, inline: Option<&str>) -> Result<bool, FlagError> {
    match inline {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => {
            Err(FlagError::Usage(format!("invalid boolean value {value:?} for -{name}: parse error")))
        }
    }
}

impl Flags {
    /// Whether it is a flag without a value; then it is read.
    fn switch(&mut self, name: &str, inline: Option<&str>) -> Result<bool, FlagError> {
        let own = match name {
            "js" | "jetstream" => &mut self.jetstream,
            "T" | "logtime" => &mut self.log_time,
            "logtime_utc" => &mut self.log_utc,
            "D" | "debug" => &mut self.debug,
            "V" | "trace" | "VV" => &mut self.trace,
            "tls" => &mut self.tls,
            "tlsverify" => &mut self.tls_verify,
            "DV" | "DVV" => {
                self.debug = Some(switch(name, inline)?);
                &mut self.trace
            }
            _ => return Ok(false),
        };
        *own = Some(switch(name, inline)?);
        Ok(true)
    }

    fn value(&mut self, mut value: Value<'_>) -> Result<Option<Task>, FlagError> {
        match value.name {
            "a" | "addr" | "net" => self.host = Some(value.text()?),
            // The real server takes 0 for its default.
            "p" | "port" => self.port = value.port()?,
            "m" | "http_port" => self.monitor = Some(value.port()?),
            "n" | "name" | "server_name" => self.server_name = Some(value.text()?),
            "c" | "config" => self.config = Some(value.path()?),
            "P" | "pid" => self.pid_file = Some(value.path()?),
            "ports_file_dir" => self.ports_file_dir = Some(value.path()?),
            "l" | "log" => self.log = Some(value.path()?),
            "sd" | "store_dir" => self.store_dir = Some(value.path()?),
            "user" => self.user = Some(value.text()?),
            "pass" => self.password = Some(value.text()?),
            "auth" => self.token = Some(value.text()?),
            "tlscert" => self.tls_cert = Some(value.path()?),
            "tlskey" => self.tls_key = Some(value.path()?),
            "tlscacert" => self.tls_ca = Some(value.path()?),
            "sl" | "signal" => return value.text().map(Task::Signal).map(Some),
            name if TUNING.contains(&name) => drop(value.text()?),
            name if UNSUPPORTED.contains(&name) => {
                return Err(FlagError::Refused(format!("flag -{name} is not supported by this server")));
            }
            name => return Err(FlagError::Usage(format!("flag provided but not defined: -{name}"))),
        }
        Ok(None)
    }

    /// The file, if one is named.
    #[must_use]
    pub const fn config(&self) -> Option<&PathBuf> {
        self.config.as_ref()
    }

    /// What the file says, and over it what the flags say.
    ///
    /// # Errors
    /// Text for the one who wrote them.
    pub fn settings(&self) -> Result<Settings, String> {
        let mut settings = match &self.config {
            Some(path) => config::load(path).map_err(|problems: Problems| problems.to_string())?,
            None => Settings::default(),
        };
        self.over(&mut settings)?;
        Ok(settings)
    }

    fn over(&self, settings: &mut Settings) -> Result<(), String> {
        let Settings { options, pid_file, ports_file_dir, log, .. } = settings;
        set(&mut options.listen.host, self.host.as_ref());
        set(&mut options.listen.port, self.port.as_ref());
        match self.monitor {
            None => {}
            Some(None) => options.monitor = None,
            Some(Some(port)) => {
                let host = options.listen.host.clone();
                let own = options.monitor.get_or_insert(Listen { host, port });
                own.port = port;
            }
        }
        or(&mut options.server_name, self.server_name.as_ref());
        or(pid_file, self.pid_file.as_ref());
        or(ports_file_dir, self.ports_file_dir.as_ref());
        or(&mut log.file, self.log.as_ref());
        set(&mut log.time, self.log_time.as_ref());
        set(&mut log.utc, self.log_utc.as_ref());
        set(&mut log.debug, self.debug.as_ref());
        set(&mut log.trace, self.trace.as_ref());
        match self.jetstream {
            Some(true) if options.jetstream.is_none() => options.jetstream = Some(jetstream_in(None)),
            Some(false) => options.jetstream = None,
            None | Some(true) => {}
        }
        if let (Some(store_dir), Some(jetstream)) = (&self.store_dir, &mut options.jetstream) {
            jetstream.store = jetstream_in(Some(store_dir.clone())).store.with_sync_of(&jetstream.store);
        }
        match (&self.token, &self.user, &self.password) {
            (None, None, None) => {}
            (Some(token), None, None) => options.auth = Auth::token(token),
            (None, Some(user), Some(password)) => options.auth = Auth::user(user, password),
            // As the real server has it: a user without a password is a token.
            (None, Some(user), None) => options.auth = Auth::token(user),
            (None, None, Some(_)) | (Some(_), _, _) => {
                return Err("--user and --pass go together, and not with --auth".to_owned());
            }
        }
        self.tls_over(&mut options.tls)
    }

    fn tls_over(&self, tls: &mut Option<TlsOptions>) -> Result<(), String> {
        let (on, verify) = (self.tls == Some(true), self.tls_verify == Some(true));
        if !on && !verify && self.tls_cert.is_none() && self.tls_key.is_none() && self.tls_ca.is_none() {
            return Ok(());
        }
        if tls.is_none() {
            let (Some(certificates), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) else {
                let missing =
                    if self.tls_cert.is_none() { "Server certificate" } else { "Server private key" };
                return Err(format!("TLS {missing} must be present and valid"));
            };
            *tls = Some(TlsOptions {
                certificates,
                key,
                authorities: None,
                verify: false,
                timeout: TLS_TIMEOUT_DEFAULT,
                first: HandshakeFirst::No,
                optional: false,
            });
        }
        if let Some(tls) = tls {
            set(&mut tls.certificates, self.tls_cert.as_ref());
            set(&mut tls.key, self.tls_key.as_ref());
            or(&mut tls.authorities, self.tls_ca.as_ref());
            tls.verify |= verify;
        }
        Ok(())
    }
}

fn set<T: Clone>(own: &mut T, said: Option<&T>) {
    if let Some(said) = said {
        own.clone_from(said);
    }
}

fn or<T: Clone>(own: &mut Option<T>, said: Option<&T>) {
    if said.is_some() {
        *own = said.cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::options::{Store, SyncPolicy};

    fn words(words: &str) -> Result<Task, FlagError> {
        parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn settings(text: &str) -> Settings {
        match words(text) {
            Ok(Task::Serve(flags)) => flags.settings().expect("settings"),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let all = settings(
            "-a 127.0.0.1 --port=-1 -js -sd d -n name -P pid -l log --ports_file_dir x -m -1 -DV --logtime=false",
        );
        assert_eq!(all.options.listen, Listen::loopback());
        assert_eq!(all.options.monitor, Some(Listen::loopback()));
        assert_eq!(all.options.server_name.as_deref(), Some("name"));
        assert_eq!((all.log.debug, all.log.trace, all.log.time), (true, true, false));
        assert_eq!(all.pid_file, Some("pid".into()));
        let jetstream = all.options.jetstream.expect("JetStream");
        let sync = SyncPolicy::Every(std::time::Duration::from_secs(120));
        assert_eq!(jetstream.store, Store::Directory { directory: "d/jetstream".into(), sync });
        let plain = settings("-p 0");
        assert_eq!((plain.options.listen.port, plain.options.jetstream), (4222, None));
        assert_eq!(settings("-user u -pass p").options.auth, Auth::user("u", "p"));
        assert_eq!(settings("--auth=t").options.auth, Auth::token("t"));
        assert_eq!(settings("-js=false").options.jetstream, None);
    }

    #[test]
    fn what_is_asked_instead_of_running() {
        assert_eq!(words("-js --help"), Ok(Task::Help));
        assert_eq!(words("version"), Ok(Task::Version));
        assert_eq!(words("-v"), Ok(Task::Version));
        assert_eq!(words("--signal ldm=7"), Ok(Task::Signal("ldm=7".into())));
        assert_eq!(words("-sl=stop"), Ok(Task::Signal("stop".into())));
        assert!(matches!(words("-t -c x"), Ok(Task::Check(_))));
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (text, expected) in [
            ("--foo", FlagError::Usage("flag provided but not defined: -foo".into())),
            ("-p", FlagError::Usage("flag needs an argument: -p".into())),
            ("-p x", FlagError::Usage("invalid value \"x\" for flag -p: parse error".into())),
            ("-p 70000", FlagError::Usage("invalid value \"70000\" for flag -p: parse error".into())),
            ("-js=x", FlagError::Usage("invalid boolean value \"x\" for -js: parse error".into())),
            ("---a", FlagError::Usage("bad flag syntax: ---a".into())),
            ("foo -js", FlagError::Refused("unrecognized command: \"foo\"".into())),
            ("--routes x", FlagError::Refused("flag -routes is not supported by this server".into())),
        ] {
            assert_eq!(words(text), Err(expected), "{text}");
        }
        for text in ["--tls", "--tlscert a", "--pass p", "--auth t --user u", "-c there/is/none"] {
            let Ok(Task::Serve(flags)) = words(text) else { panic!("{text}") };
            assert!(flags.settings().is_err(), "{text}");
        }
    }
}
