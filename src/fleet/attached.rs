//! What the construction of a shared breaker waits for.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use crate::sync::std_lock;

/// Whether a breaker has the state of its fleet, or the fleet is not reached.
#[derive(Debug, Default)]
pub(super) struct Attached {
    is_attached: Mutex<bool>,
    changed: Condvar,
}

/// A breaker that has yet to get the state of its fleet. A caller that waits for that goes on once
/// this is dropped.
pub(super) struct Attaching(Arc<Attached>);

impl Attached {
    /// Waits until it is so, but for no longer than this.
    pub(super) fn wait(&self, longest: Duration) {
        let is_attached = std_lock(&self.is_attached);
        // A thread that has panicked has changed nothing else.
        drop(self.changed.wait_timeout_while(is_attached, longest, |is_attached| !*is_attached));
    }
}

impl Attaching {
    pub(super) fn new(attached: &Arc<Attached>) -> Self {
        Self(Arc::clone(attached))
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        *std_lock(&self.0.is_attached) = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn all_who_wait_go_on_once_it_is_attached_and_none_waits_for_longer_than_it_wants() {
        const LONG: Duration = Duration::from_secs(600);
        let attached = Arc::<Attached>::default();
        let began = Instant::now();
        attached.wait(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
        let attaching = Attaching::new(&attached);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| attached.wait(LONG));
            }
            drop(attaching);
        });
        attached.wait(LONG);
        assert!(began.elapsed() < LONG);
    }
}
