//! Waiting for something that happens on another thread.

use std::time::{Duration, Instant};

/// The longest wait. A store that has failed for long is retried only every five seconds, and the
/// machine may be busy.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Whether the condition holds within a minute.
pub(crate) fn holds_in_time(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < MINUTE {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// Waits until the condition holds, and panics if it does not within a minute.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_in_time(holds), "not within a minute: {what}");
}

/// Like [`eventually`], and lets other tasks run.
pub(crate) async fn eventually_async(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < MINUTE, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
