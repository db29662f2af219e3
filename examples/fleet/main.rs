//! Three servers share one circuit breaker through Redis, shown with real processes and real
//! requests: `cargo run --example fleet`
//!
//! One of them meets an upstream that fails, and all of them reject. The upstream is killed, a
//! server is killed, and when the upstream is back, one probe finds that out for all.
//!
//! The program starts `redis-server` (Debian: `apt-get install redis-server`), an upstream, and
//! itself three times as a server, all on the loopback interface. The exit code is 1 if anything
//! differs from what is printed.

mod process;
mod servers;
mod story;

use std::{error::Error, process::ExitCode};

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("server") => servers::server().await,
        Some("upstream") => servers::upstream().await,
        _ => story::tell().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ncheck failed: {error}");
            ExitCode::FAILURE
        }
    }
}
