//! Log lines as the real server writes them: others' test suites wait for some of them.
//!
//! ```text
//!  [4711] 2026/11/21 12:00:00.000000 [INF] Server is ready
//!   pid    UTC, unless told to say no time  level
//! ```
//!
//! Everything this process logs goes through `tracing`; fields follow the message. The file is opened again when
//! asked, so that it can be moved away under us.
//!
//! Difference to the real server: times are UTC, in whatever zone the machine is.

use super::settings::Log;
use jiff::Timestamp;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Where lines go, for as long as the process runs.
#[derive(Clone, Debug)]
pub struct Lines {
    to: Arc<Mutex<To>>,
}

#[derive(Debug)]
enum To {
    Stderr,
    File { path: PathBuf, file: File },
}

/// Starts logging.
///
/// # Errors
/// When the file cannot be written, or logging was started before.
pub fn start(log: &Log) -> io::Result<Lines> {
    let to = match &log.file {
        None => To::Stderr,
        Some(path) => To::File { path: path.clone(), file: open(path)? },
    };
    let lines = Lines { to: Arc::new(Mutex::new(to)) };
    let level = if log.trace {
        "trace"
    } else if log.debug {
        "debug"
    } else {
        "info"
    };
    let filter = EnvFilter::new(format!(
        "warn,cloudlysis={level},cloudlysis_nodes={level},cloudlysis_io_nats={level}"
    ));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone())
        .event_format(Format { time: log.time, pid: std::process::id() })
        .try_init()
        .map_err(io::Error::other)?;
    Ok(lines)
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Lines {
    /// Opens the file again; `false` if there is none.
    ///
    /// # Errors
    /// When it cannot be written any more: then lines go where they went before.
    pub fn reopen(&self) -> io::Result<bool> {
        match &mut *self.to.lock().unwrap_or_else(PoisonError::into_inner) {
            To::Stderr => Ok(false),
            To::File { path, file } => {
                *file = open(path)?;
                Ok(true)
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.to.lock().unwrap_or_else(PoisonError::into_inner) {
            To::Stderr => io::stderr().write(bytes),
            To::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.to.lock().unwrap_or_else(PoisonError::into_inner) {
            To::Stderr => io::stderr().flush(),
            To::File { file, .. } => file.flush(),
        }
    }
}

struct Format {
    time: bool,
    pid: u32,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(out, "[{}] ", self.pid)?;
        if self.time {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            write!(out, "{} ", stamp(since))?;
        }
        let level = match *event.metadata().level() {
            Level::ERROR => "ERR",
            Level::WARN => "WRN",
            Level::INFO => "INF",
            Level::DEBUG => "DBG",
            Level::TRACE => "TRC",
        };
        write!(out, "[{level}] ")?;
        let mut said = Said::default();
        event.record(&mut said);
        writeln!(out, "{}{}", said.message, said.fields)
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields += &format!(" {}={value:?}", field.name());
        }
    }
}

/// `2026/11/21 12:00:00.000000`; nothing for a time no calendar has.
fn stamp(unix: Duration) -> String {
    let micros =
        i64::try_from(unix.as_micros()).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    micros.map_or_else(String::new, |at| at.strftime("%Y/%m/%d %H:%M:%S%.6f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_as_the_real_server_does() {
        for (micros, expected) in
            [(0, "1970/01/01 00:00:00.000000"), (1_795_262_400_000_010, "2026/11/21 12:00:00.000010")]
        {
            assert_eq!(stamp(Duration::from_micros(micros)), expected);
        }
        assert_eq!(stamp(Duration::MAX), "");
    }
}
