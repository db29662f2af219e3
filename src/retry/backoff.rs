use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tower::{
    retry::backoff::{
        Backoff, ExponentialBackoff, ExponentialBackoffMaker, InvalidBackoff, MakeBackoff,
    },
    util::rng::HasherRng,
};

/// The delays between the attempts of one request.
///
/// tower computes the steps. The jitter is added here, because tower 0.5.3 truncates it to whole
/// seconds for steps of whole seconds (a step of 1 s has none), adds none to the longest step, and
/// uses the same random numbers for every clone, and so for every request.
#[derive(Debug, Clone)]
pub(super) struct Delays {
    steps: ExponentialBackoff,
    jitter: f64,
}

/// Longer delays are cut to this, so that sums of times cannot overflow. (Recent versions of tokio
/// sleep for at most 30 years, older ones have no limit.)
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

impl Delays {
    pub(super) fn new(min: Duration, max: Duration, jitter: f64) -> Result<Self, InvalidBackoff> {
        let (min, max) = (min.min(LONGEST), max.min(LONGEST));
        let backoff = |jitter| ExponentialBackoffMaker::new(min, max, jitter, HasherRng::default());
        // Validates all three arguments.
        backoff(jitter)?;
        Ok(Self { steps: backoff(0.0)?.make_backoff(), jitter })
    }

    /// Sleeps for the given time plus the next step of the backoff, so that clients that were asked
    /// to wait for the same time do not return at the same moment. `None` if the clock cannot
    /// represent that time.
    pub(super) fn next(&mut self, at_least: Duration) -> Option<Sleep> {
        let now = Instant::now();
        let step = self.steps.next_backoff().deadline().saturating_duration_since(now);
        let jitter = step.mul_f64(self.jitter * fastrand::f64());
        now.checked_add(step + jitter)?.checked_add(at_least).map(sleep_until)
    }
}

impl Delays {
    /// For an API with a limit: from 1 s up to 20 s, plus jitter.
    pub(super) fn rate_limited() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(20), 1.0)
            .unwrap_or_else(|_| unreachable!("1 s to 20 s is a backoff"))
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5), 1.0)
            .unwrap_or_else(|_| unreachable!("50 ms to 5 s is a backoff"))
    }
}
