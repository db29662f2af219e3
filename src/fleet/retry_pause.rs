//! Pauses between attempts that come to nothing.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that grow, and are random, so that replicas do not try again at one moment.
#[derive(Debug, Default)]
pub(super) struct RetryPause {
    attempts: u32,
}

impl RetryPause {
    /// The pause after another attempt: up to twice as long as the last one, at most two seconds.
    pub(super) fn next(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.attempts)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        pause.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// Whether the attempts so far have taken a second or so.
    pub(super) fn is_brief(&self) -> bool {
        self.attempts <= 6
    }

    /// An attempt has succeeded.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_success() {
        let mut pauses = RetryPause::default();
        let mut expected = FIRST;
        for _ in 0..40 {
            let pause = pauses.next();
            assert!((expected / 2..=expected).contains(&pause), "{pause:?} of {expected:?}");
            expected = (2 * expected).min(LONGEST);
        }
        assert_eq!(expected, LONGEST);
        pauses.reset();
        assert!(pauses.next() <= FIRST);
    }

    #[test]
    fn replicas_do_not_try_again_at_one_moment() {
        let pauses: std::collections::BTreeSet<_> =
            (0..20).map(|_| RetryPause::default().next()).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
