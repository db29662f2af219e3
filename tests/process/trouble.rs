//! Whether the store of a child process was ever in trouble.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tower_breaker::{Breaker, Event};

use crate::support::wait::{MINUTE, eventually};

/// On a busy enough machine, a healthy store can take longer to answer than breakers wait.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<AtomicBool>);

impl Trouble {
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let seen = Arc::clone(&self.0);
        move |event| {
            if matches!(event, Event::Store(_)) {
                seen.store(true, Ordering::SeqCst);
            }
        }
    }

    pub(crate) fn was_there(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until all breakers are restored, if they did not wait long enough at their start.
    pub(crate) fn wait_until_restored(&self, breakers: &[Breaker]) {
        // The event may come later than the end of the wait that it reports.
        let is_late = |breaker: &&Breaker| self.was_there() || !breaker.store_health().is_healthy();
        for breaker in breakers.iter().filter(is_late) {
            eventually("the store answers", || breaker.flush_blocking(MINUTE).is_ok());
        }
    }
}
