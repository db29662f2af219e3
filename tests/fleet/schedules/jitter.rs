//! How late the machine runs threads that want to. Limits on times grow by it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(3);

#[derive(Default)]
pub(crate) struct Jitter {
    /// In microseconds.
    worst: AtomicU64,
}

impl Jitter {
    /// Measures until it is dropped.
    pub(crate) fn start() -> Arc<Self> {
        let jitter = Arc::<Self>::default();
        let measured = Arc::downgrade(&jitter);
        thread::spawn(move || {
            while let Some(jitter) = measured.upgrade() {
                let began = Instant::now();
                thread::sleep(PAUSE);
                let late = began.elapsed().saturating_sub(PAUSE);
                jitter.worst.fetch_max(u64::try_from(late.as_micros()).unwrap(), Ordering::SeqCst);
            }
        });
        jitter
    }

    /// What a chain of a few threads may take longer than on an idle machine.
    pub(crate) fn slack(&self) -> Duration {
        Duration::from_millis(50) + 4 * Duration::from_micros(self.worst.load(Ordering::SeqCst))
    }
}
