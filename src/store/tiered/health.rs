//! What is known about the far store.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{clock::wall, health::StoreHealth, sync::log};

const FIRST_RETRY: Duration = Duration::from_millis(100);
/// So that a far store that is back is found soon.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// A call that takes longer than this hangs.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct FarHealth {
    /// The store's label in metrics.
    label: Arc<str>,
    trouble: Option<FarTrouble>,
    call_began: Option<Instant>,
    /// Whether it became degraded since this was last asked.
    has_degraded: bool,
}

struct FarTrouble {
    since: SystemTime,
    reason: String,
    retry: Duration,
    retry_at: Instant,
}

impl FarHealth {
    pub(super) fn new(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    pub(super) const fn begin_call(&mut self, now: Instant) {
        self.call_began = Some(now);
    }

    pub(super) const fn end_call(&mut self) {
        self.call_began = None;
    }

    /// A call that is under way and does not return makes the store degraded.
    pub(super) fn detect_hang(&mut self, now: Instant) {
        if self.call_began.is_some_and(|began| now - began > OVERDUE_AFTER) {
            self.failed("the store does not answer", now);
        }
    }

    /// Whether it became degraded since this was last asked: then the gauges are to be recorded.
    pub(super) const fn take_degraded(&mut self) -> bool {
        mem::replace(&mut self.has_degraded, false)
    }

    pub(super) fn failed(&mut self, reason: &str, now: Instant) {
        if let Some(trouble) = &mut self.trouble {
            reason.clone_into(&mut trouble.reason);
            if now >= trouble.retry_at {
                trouble.retry = (trouble.retry * 2).min(LONGEST_RETRY);
                trouble.retry_at = now + trouble.retry;
            }
            return;
        }
        self.has_degraded = true;
        log(|| {
            tracing::warn!(
                target: "tower_breaker",
                store = &*self.label,
                reason,
                "far store degraded: continuing with the near store, and retrying; until it works, \
                 state is lost together with this host, so make it available again",
            );
        });
        self.trouble = Some(FarTrouble {
            since: wall(),
            reason: reason.to_owned(),
            retry: FIRST_RETRY,
            retry_at: now + FIRST_RETRY,
        });
    }

    /// Returns whether it did not work before.
    pub(super) fn worked(&mut self) -> bool {
        let was_degraded = self.trouble.take().is_some();
        if was_degraded {
            log(|| {
                tracing::info!(
                    target: "tower_breaker",
                    store = &*self.label,
                    "far store healthy again: saving to it what the near store holds",
                );
            });
        }
        was_degraded
    }

    pub(super) const fn is_degraded(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.retry_at)
    }

    pub(super) fn value(&self, pending: usize) -> StoreHealth {
        match &self.trouble {
            None => StoreHealth::Healthy,
            Some(FarTrouble { since, reason, .. }) => {
                StoreHealth::Degraded { since: *since, reason: reason.clone(), pending }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::FarHealth;

    #[test]
    fn a_failing_store_is_retried_with_growing_pauses_and_heals() {
        let (mut health, mut now) = (FarHealth::default(), Instant::now());
        assert!(!health.is_degraded() && health.retry_at().is_none());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            health.failed("sick", now);
            pauses.push((health.retry_at().unwrap() - now).as_millis());
            now = health.retry_at().unwrap();
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(health.worked());
        assert!(!health.worked());
    }

    #[test]
    fn a_call_that_takes_too_long_is_trouble() {
        let (mut health, now) = (FarHealth::default(), Instant::now());
        health.begin_call(now);
        health.detect_hang(now + Duration::from_millis(900));
        assert!(!health.is_degraded() && !health.take_degraded());
        health.detect_hang(now + Duration::from_millis(1100));
        assert!(health.is_degraded() && health.take_degraded());
        health.detect_hang(now + Duration::from_millis(1200));
        assert!(!health.take_degraded(), "once");
        assert!(health.value(3).to_string().contains("does not answer"));
        health.end_call();
        health.detect_hang(now + Duration::from_secs(9));
        assert!(health.is_degraded(), "until something works");
        assert!(health.worked() && !health.take_degraded());
    }
}
