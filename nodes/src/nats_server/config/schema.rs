//! What the fields of a file mean: the server itself and its JetStream.

use super::Problems;
use super::doors::{self, address, port};
use super::fields::{Field, each};
use super::users::{self, Everybody};
use super::value::{Entry, Node, Problem, Value};
use crate::broker::options::{JetStream, Listen, Store, SyncPolicy};
use crate::nats_server::settings::Settings;
use std::path::PathBuf;
use std::time::Duration;

/// How often the real server forces its files to the disk.
const SYNC_INTERVAL_DEFAULT: Duration = Duration::from_secs(120);
/// The shortest lame duck mode that the real server takes.
const LAME_DUCK_MIN: Duration = Duration::from_secs(30);

/// The JetStream of a server that was told nothing but that it has one.
pub(crate) fn jetstream_in(store_dir: Option<PathBuf>) -> JetStream {
    // Where the real server keeps its streams.
    let directory = store_dir.unwrap_or_else(|| std::env::temp_dir().join("nats"));
    JetStream::in_directory(directory.join("jetstream"), SyncPolicy::Every(SYNC_INTERVAL_DEFAULT))
}

struct Schema {
    settings: Settings,
    store_dir: Option<PathBuf>,
    everybody: Everybody,
    lame_duck_at: Option<Node>,
}

pub(super) fn settings(entries: &[Entry]) -> Result<Settings, Problems> {
    let mut problems = Vec::new();
    let mut schema = Schema {
        settings: Settings::default(),
        store_dir: None,
        everybody: Everybody::default(),
        lame_duck_at: None,
    };
    each(entries, &mut problems, |key, node, problems| schema.field(key, node, problems));
    let settings = schema.finish(&mut problems);
    if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
}

impl Schema {
    fn field(&mut self, key: &str, node: &Node, problems: &mut Vec<Problem>) -> Result<Field, Problem> {
        let Settings { options, pid_file, ports_file_dir, log, .. } = &mut self.settings;
        match key {
            "listen" => address(node, &mut options.listen)?,
            "port" => options.listen.port = port(node)?,
            "host" | "net" => options.listen.host = node.text()?,
            "server_name" => options.server_name = Some(name(node)?),
            "server_tags" => options.tags = node.texts()?,
            "http" | "monitor" => address(node, options.monitor.get_or_insert_with(everywhere))?,
            "http_port" | "monitor_port" => {
                // The real server takes 0 for none.
                options.monitor = match node.integer()? {
                    0 => None,
                    _ => Some(Listen {
                        port: port(node)?,
                        ..options.monitor.take().unwrap_or_else(everywhere)
                    }),
                }
            }
            "jetstream" => self.jetstream(node, problems)?,
            "store_dir" | "storedir" => self.store_dir = Some(node.text()?.into()),
            "authorization" => users::authorization(node, &mut self.everybody, problems)?,
            "accounts" => users::accounts(node, &mut self.everybody, problems)?,
            "no_auth_user" => self.everybody.no_auth_user = Some((node.clone(), node.text()?)),
            "system_account" | "system" => self.everybody.system_account = Some((node.clone(), node.text()?)),
            "tls" => options.tls = Some(doors::tls(node, problems)?),
            "allow_non_tls" => self.everybody.allow_non_tls = node.bool()?,
            "websocket" | "ws" => options.websocket = doors::websocket(node, problems)?,
            "max_payload" => options.limits.payload_bytes_max = bytes(node)?,
            "max_control_line" => options.limits.control_line_bytes_max = bytes(node)?,
            "max_pending" => options.pending_bytes_max = bytes(node)?,
            "max_connections" | "max_conn" => bound(node, &mut options.limits.connections_max)?,
            "max_subscriptions" | "max_subs" => {
                bound(node, &mut options.limits.subscriptions_per_connection_max)?;
            }
            "ping_interval" => options.limits.ping_interval_ms = ms(node)?,
            "ping_max" => options.limits.pings_out_max = node.number()?,
            "write_deadline" => options.write_deadline = node.duration()?,
            "lame_duck_duration" => {
                options.lame_duck.duration = node.duration()?;
                if options.lame_duck.duration < LAME_DUCK_MIN {
                    return Err(node.problem("invalid lame_duck_duration, minimum is 30 seconds"));
                }
                self.lame_duck_at = Some(node.clone());
            }
            "lame_duck_grace_period" => {
                options.lame_duck.grace = node.duration()?;
                self.lame_duck_at = Some(node.clone());
            }
            "pid_file" | "pidfile" => *pid_file = Some(node.text()?.into()),
            "ports_file_dir" => *ports_file_dir = Some(node.text()?.into()),
            "log_file" | "logfile" => log.file = Some(node.text()?.into()),
            "logtime" => log.time = node.bool()?,
            "logtime_utc" => log.utc = node.bool()?,
            "debug" => log.debug = node.bool()?,
            "trace" => log.trace = node.bool()?,
            "disable_sublist_cache"
            | "max_traced_msg_len"
            | "connect_error_reports"
            | "no_system_account"
            | "reconnect_error_reports"
            | "max_closed_clients"
            | "no_fast_producer_stall"
            | "trace_verbose" => {
                return Ok(Field::Tuning);
            }
            "cluster"
            | "gateway"
            | "leaf"
            | "leafnodes"
            | "mqtt"
            | "operator"
            | "operators"
            | "resolver"
            | "resolver_tls"
            | "resolver_preload"
            | "resolver_pinned_accounts"
            | "trusted"
            | "trusted_keys"
            | "https"
            | "https_port"
            | "http_base_path"
            | "client_advertise"
            | "mappings"
            | "maps"
            | "syslog"
            | "remote_syslog"
            | "prof_port"
            | "logfile_size_limit"
            | "log_size_limit"
            | "logfile_max_num"
            | "default_sentinel"
            | "default_js_domain"
            | "ocsp"
            | "ocsp_cache"
            | "no_header_support"
            | "sub_tokens"
            | "feature_flags"
            | "proxies"
            | "proxy_protocol"
            | "msg_trace"
            | "rescale" => {
                return Ok(Field::Unsupported);
            }
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Read)
    }

    fn jetstream(&mut self, node: &Node, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let options = &mut self.settings.options;
        let entries = match &node.value {
            Value::Bool(on) => {
                options.jetstream = on.then(|| jetstream_in(None));
                return Ok(());
            }
            Value::Text(word) if matches!(word.to_ascii_lowercase().as_str(), "enable" | "enabled") => {
                options.jetstream = Some(jetstream_in(None));
                return Ok(());
            }
            Value::Text(word) if matches!(word.to_ascii_lowercase().as_str(), "disable" | "disabled") => {
                options.jetstream = None;
                return Ok(());
            }
            Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) => {
                return Err(node.problem("expected map, bool or string to define JetStream"));
            }
            Value::Map(entries) => entries,
        };
        let (mut own, mut enabled) = (jetstream_in(None), true);
        each(entries, problems, |key, node, problems| {
            match key {
                "store" | "store_dir" | "storedir" => self.store_dir = Some(node.text()?.into()),
                "domain" => own.domain = Some(node.text()?),
                "max_memory_store" | "max_mem_store" | "max_mem" => own.memory_bytes_max = capacity(node)?,
                "max_file_store" | "max_file" => own.storage_bytes_max = capacity(node)?,
                "enable" | "enabled" => enabled = node.bool()?,
                "strict" => own.strict = node.bool()?,
                "sync" | "sync_interval" => {
                    if let Store::Directory { sync, .. } = &mut own.store {
                        *sync = sync_policy(node)?;
                    }
                }
                "limits" => each(node.map()?, problems, |key, node, _| {
                    match key {
                        "max_request_batch" => own.request_batch_max = capacity(node)?.filter(|max| *max > 0),
                        "max_ack_pending" | "max_ha_assets" | "duplicate_window" => {
                            return Ok(Field::Unsupported);
                        }
                        _ => return Ok(Field::Unknown),
                    }
                    Ok(Field::Read)
                }),
                "max_outstanding_catchup"
                | "request_queue_limit"
                | "info_queue_limit"
                | "max_buffered_size"
                | "max_buffered_msgs"
                | "extension_hint" => return Ok(Field::Tuning),
                "key"
                | "ek"
                | "encryption_key"
                | "prev_key"
                | "prev_ek"
                | "prev_encryption_key"
                | "cipher"
                | "tpm"
                | "unique_tag"
                | "meta_compact"
                | "meta_compact_size"
                | "meta_compact_sync" => {
                    return Ok(Field::Unsupported);
                }
                _ => return Ok(Field::Unknown),
            }
            Ok(Field::Read)
        });
        options.jetstream = enabled.then_some(own);
        Ok(())
    }

    /// What depends on more than one field.
    fn finish(self, problems: &mut Vec<Problem>) -> Settings {
        let Self { mut settings, store_dir, everybody, lame_duck_at } = self;
        let options = &mut settings.options;
        if let Some(Store::Directory { directory, .. }) = options.jetstream.as_mut().map(|own| &mut own.store)
            && let Some(store_dir) = store_dir
        {
            *directory = store_dir.join("jetstream");
        }
        if let Some(tls) = &mut options.tls {
            tls.optional = everybody.allow_non_tls;
        }
        if let Some(node) = lame_duck_at.filter(|_| options.lame_duck.grace >= options.lame_duck.duration) {
            let (grace, duration) = (options.lame_duck.grace, options.lame_duck.duration);
            let text = format!(
                "lame duck grace period ({grace:?}) should be lower than lame duck duration ({duration:?})"
            );
            problems.push(node.problem(text));
        }
        if let Some(timeout) = everybody.timeout {
            options.limits.auth_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        }
        match everybody.decide() {
            Ok((auth, jetstream_account)) => {
                options.auth = auth;
                if let Some(jetstream) = &mut options.jetstream {
                    jetstream.account = jetstream_account;
                }
            }
            Err(problem) => problems.push(problem),
        }
        settings
    }
}

fn everywhere() -> Listen {
    Listen { host: "0.0.0.0".to_owned(), port: 0 }
}

fn name(node: &Node) -> Result<String, Problem> {
    let name = node.text()?;
    if name.contains(char::is_whitespace) {
        Err(node.problem("server name cannot contain spaces"))
    } else {
        Ok(name)
    }
}

fn bytes(node: &Node) -> Result<usize, Problem> {
    let value = node.bytes()?;
    usize::try_from(value).map_err(|_| node.problem(format!("{value} is out of range")))
}

/// A size of which -1 is none.
fn capacity(node: &Node) -> Result<Option<u64>, Problem> {
    match node.bytes()? {
        -1 => Ok(None),
        value => u64::try_from(value).map(Some).map_err(|_| node.problem(format!("{value} is out of range"))),
    }
}

/// A bound of which 0 and -1 are none: then ours holds.
fn bound(node: &Node, bound: &mut usize) -> Result<(), Problem> {
    match node.integer()? {
        -1 | 0 => Ok(()),
        _ => node.number().map(|value| *bound = value),
    }
}

fn ms(node: &Node) -> Result<u64, Problem> {
    u64::try_from(node.duration()?.as_millis()).map_err(|_| node.problem("too long"))
}

fn sync_policy(node: &Node) -> Result<SyncPolicy, Problem> {
    match &node.value {
        Value::Text(word) if word.eq_ignore_ascii_case("always") => Ok(SyncPolicy::Always),
        Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::List(_)
        | Value::Map(_) => node.duration().map(SyncPolicy::Every),
    }
}
