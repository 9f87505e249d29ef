//! Waiting for what must become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until there is a value; fails with the last reason why there was none.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(why) if started.elapsed() > within => panic!("{what}: not within {within:?}; {why}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
