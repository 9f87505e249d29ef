//! How a broker that is to leave sends its clients away: first a grace, then one after the other.

use super::options::LameDuck;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest pause between two clients: as many as there are, they are gone in time.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Longest one, so that few clients do not keep it for long; the real server has the same.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// When the next one is sent away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Farewell {
    due: Instant,
    pause: Duration,
}

impl Farewell {
    /// From now on.
    pub(super) fn begin(lame_duck: LameDuck, clients: usize) -> Self {
        let rest = lame_duck.duration.saturating_sub(lame_duck.grace);
        let pause = rest / u32::try_from(clients.max(1)).unwrap_or(u32::MAX);
        Self { due: Instant::now() + lame_duck.grace, pause: pause.clamp(PAUSE_MIN, PAUSE_MAX) }
    }

    /// Waits until the next one is due; for ever, if nobody is sent away.
    pub(super) async fn due(farewell: Option<&Self>) {
        match farewell {
            Some(farewell) => tokio::time::sleep_until(farewell.due).await,
            None => std::future::pending().await,
        }
    }

    /// One was sent away.
    pub(super) fn next(&mut self) {
        self.due = Instant::now() + self.pause;
    }
}
