use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tower::{
    retry::backoff::{
        Backoff, ExponentialBackoff, ExponentialBackoffMaker, InvalidBackoff, MakeBackoff,
    },
    util::rng::HasherRng,
};

/// How long one request waits between its attempts.
///
/// Tower makes the steps. The jitter on top is added here: tower 0.5.3 cuts it down to whole
/// seconds for steps of whole seconds (a step of 1 s would have none), has none left at the
/// longest step, and draws the same numbers for every clone, which here means for every request.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    steps: ExponentialBackoff,
    jitter: f64,
}

/// Far above what anybody waits, and far below where adding up times overflows. (Newer versions
/// of tokio wait for 30 years at most. Older ones don't stop there.)
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

impl Waits {
    pub(super) fn new(min: Duration, max: Duration, jitter: f64) -> Result<Self, InvalidBackoff> {
        let (min, max) = (min.min(LONGEST), max.min(LONGEST));
        let backoff = |jitter| ExponentialBackoffMaker::new(min, max, jitter, HasherRng::default());
        // To have all three judged.
        backoff(jitter)?;
        Ok(Self { steps: backoff(0.0)?.make_backoff(), jitter })
    }

    /// Waits for that long, and for the next step of the backoff on top, so that those who were
    /// asked for the same time don't come back at the same moment. `None` where the time is past
    /// what the clock can hold.
    pub(super) fn next(&mut self, at_least: Duration) -> Option<Sleep> {
        let now = Instant::now();
        let step = self.steps.next_backoff().deadline().saturating_duration_since(now);
        let jitter = step.mul_f64(self.jitter * fastrand::f64());
        now.checked_add(step + jitter)?.checked_add(at_least).map(sleep_until)
    }
}

impl Default for Waits {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5), 1.0)
            .unwrap_or_else(|_| unreachable!("50 ms to 5 s is a backoff"))
    }
}
