//! The services that `dev` starts beside the nodes, as `app.yaml` lists them.

use super::{CommandError, say};
use cloudlysis_core::manifest::DevService;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// A service may have to be compiled first.
const READY_WITHIN: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);

/// Starts what is not running yet. The children end with the returned handles.
pub(super) async fn start(services: &[DevService]) -> Result<Vec<Child>, CommandError> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    let client =
        client.map_err(|error| CommandError::Service { name: "http".into(), detail: error.to_string() })?;
    let mut children = Vec::new();
    for service in services {
        let fault = |detail: String| CommandError::Service { name: service.name.clone(), detail };
        if ready(&client, &service.ready).await {
            say(&format!("  service   {} is running already ({})", service.name, service.ready));
            continue;
        }
        let (program, arguments) =
            service.command.split_first().ok_or_else(|| fault("the command is empty".into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| fault(format!("`{program}` does not start: {error}")))?;
        let started = Instant::now();
        while !ready(&client, &service.ready).await {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(fault(format!("it ended at once: {status}")));
            }
            if started.elapsed() > READY_WITHIN {
                return Err(fault(format!("{} does not answer", service.ready)));
            }
            tokio::time::sleep(POLL).await;
        }
        say(&format!("  service   {} started ({})", service.name, service.ready));
        children.push(child);
    }
    Ok(children)
}

async fn ready(client: &reqwest::Client, url: &str) -> bool {
    client.get(url).send().await.is_ok_and(|response| response.status().is_success())
}
