//! Serves the example shop's payment and shipping services.

use clap::Parser;
use shop_services::Services;
use std::error::Error;
use std::path::PathBuf;

/// Payments and shipping for the example shop.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
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
    axum::serve(listener, services.router()).await?;
    Ok(())
}
