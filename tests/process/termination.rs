//! A server that is asked to end, as every deploy does it.

use std::time::Duration;

use tower_breaker::{Breaker, SledStore};

use super::child::{Process, get_from};

#[path = "../../examples/server.rs"]
#[allow(dead_code, reason = "its `main` is for those who start it alone")]
mod server;

/// The child: the example, as it is.
#[tokio::main]
pub(crate) async fn example() -> Result<(), Box<dyn std::error::Error>> {
    server::serve().await
}

#[test]
fn sigterm_ends_the_example_well_and_loses_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let program = std::env::current_exe().unwrap();
    let mut process =
        Process::start_by(&program, "example", folder.path(), Duration::ZERO, |command| {
            // Nobody listens at that port: it is no port to listen at.
            command.env("PORT", "0").env("UPSTREAM", "http://127.0.0.1:0").env("STATE_DIR", &state);
        });
    let url = process.line_with("http://").expect("the server says its address");
    let address = url.trim_start_matches("http://");
    for _ in 0..3 {
        assert_eq!(get_from(address, "/").0, 502);
    }
    // Within the second for which counts are gathered.
    assert!(process.terminate().success());
    let store = SledStore::open(&state).unwrap();
    let breaker = Breaker::builder("upstream").store(store).build().unwrap();
    assert_eq!(breaker.stats().consecutive_failures(), 3);
}
