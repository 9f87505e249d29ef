//! Serves the example shop's payment and shipping services.

use clap::Parser;
use shop_services::Services;
use std::error::Error;
use std::path::PathBuf;

/// Payments and shipping for the example shop.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; with port 0 the system chooses one, and the line on standard output says which.
    #[arg(long, default_value = "127.0.0.1:7070")]
    listen: String,
    /// A file to remember operations in.
    #[arg(long)]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let services = match &arguments.data {
        Some(path) => Services::with_file(path)?,
        None => Services::default(),
    };
    let listener = tokio::net::TcpListener::bind(&arguments.listen).await?;
    say(&format!("shop-services   http://{}", listener.local_addr()?));
    axum::serve(listener, services.router()).await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command line's own words, not a log")]
fn say(line: &str) {
    println!("{line}");
}
