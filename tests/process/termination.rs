//! A server that gets SIGTERM, as in every deploy.

use tower_breaker::{Breaker, SledStore};

use super::server::get_from;
use crate::support::child::{Role, RoleResult};

#[path = "../../examples/server.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod server;

pub(crate) const EXAMPLE: &str = "example";

/// The role: the unchanged example.
#[tokio::main]
pub(crate) async fn example() -> RoleResult {
    server::serve().await
}

#[test]
fn sigterm_ends_the_example_without_an_error_and_loses_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let role = Role::new(EXAMPLE)
        .variable("PORT", "0")
        // Nothing can listen on port 0.
        .variable("UPSTREAM", "http://127.0.0.1:0")
        .variable("STATE_DIR", &state);
    let mut process = role.start();
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
