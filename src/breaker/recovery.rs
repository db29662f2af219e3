//! The way back: how long to stay open, the probes, and the ramp after closing.

use std::{collections::BTreeMap, time::Duration};

use crate::{Config, RampUp, Reason, clock::Tick};

/// How long the circuit stays open this time, the `opening`-th in a row.
///
/// Without jitter that is [`Config::open_time`], or a failure's own `retry_after` where there is
/// a backoff and it is longer. With jitter, the first is drawn downwards, so that it never
/// exceeds what was configured, and the second upwards, so that nobody comes before asked.
pub(crate) fn open_time(config: &Config, opening: u32, retry_after: Option<Duration>) -> Duration {
    let planned = config.open_time(opening);
    let Some(backoff) = &config.backoff else {
        return planned;
    };
    let asked = retry_after.unwrap_or_default().min(backoff.max);
    if asked > planned {
        let longest = asked.mul_f64(1.0 + backoff.jitter).min(backoff.max);
        return draw(asked, longest);
    }
    draw(planned.mul_f64(1.0 - backoff.jitter).max(asked), planned)
}

/// What to stay open for after a restart that left `left` of the open time: no longer than that,
/// and with jitter not all breakers of a process for equally long.
pub(crate) fn restored_open_time(config: &Config, left: Duration) -> Duration {
    let jitter = config.backoff.map_or(0.0, |backoff| backoff.jitter);
    draw(left.mul_f64(1.0 - jitter), left)
}

fn draw(shortest: Duration, longest: Duration) -> Duration {
    let span = longest.saturating_sub(shortest);
    if span.is_zero() {
        return longest;
    }
    shortest + span.mul_f64(fastrand::f64())
}

/// What a half-open circuit knows of its probes.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) attempts: u32,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    /// The probes that are out, by number. Numbers grow, so the first is the oldest.
    out: BTreeMap<u64, Tick>,
    next: u64,
}

/// What the results so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Undecided,
    Close,
    Reopen(Reason),
}

impl Probes {
    /// As restored: the results are kept, and nothing is out.
    pub(crate) fn resumed(attempts: u32, successes: u32, failures: u32) -> Self {
        Self { attempts, successes, failures, ..Self::default() }
    }

    pub(crate) fn admit(&mut self, limit: u32, now: Tick) -> Option<u64> {
        if self.is_full(limit) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.attempts = self.attempts.saturating_add(1);
        self.out.insert(number, now);
        Some(number)
    }

    pub(crate) fn is_full(&self, limit: u32) -> bool {
        self.out.len() >= limit as usize
    }

    pub(crate) fn free(&self, limit: u32) -> u64 {
        u64::from(limit).saturating_sub(self.out.len() as u64)
    }

    /// Gives a probe's slot back; returns when it was admitted.
    pub(crate) fn release(&mut self, number: u64) -> Option<Tick> {
        self.out.remove(&number)
    }

    /// When a probe was admitted that is still out.
    #[cfg(feature = "http")]
    pub(crate) fn admitted(&self, number: u64) -> Option<Tick> {
        self.out.get(&number).copied()
    }

    /// When the oldest probe has been out for too long.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Option<Tick> {
        let (_, oldest) = self.out.first_key_value()?;
        Some(oldest.after(timeout?))
    }

    pub(crate) fn record(&mut self, config: &Config, failed: bool, slow: bool) -> Verdict {
        let wrong = failed || slow;
        if wrong {
            self.failures = self.failures.saturating_add(1);
        } else {
            self.successes = self.successes.saturating_add(1);
        }
        let reason = if failed { Reason::ProbeFailed } else { Reason::ProbeSlow };
        let needed = config.success_threshold;
        let Some(limit) = config.half_open_failure_rate else {
            return match wrong {
                true => Verdict::Reopen(reason),
                false if self.successes >= needed => Verdict::Close,
                false => Verdict::Undecided,
            };
        };
        let results = self.successes.saturating_add(self.failures);
        if results < needed {
            return Verdict::Undecided;
        }
        if f64::from(self.failures) / f64::from(results) < limit {
            return Verdict::Close;
        }
        // The last result may well have been a good one.
        Verdict::Reopen(if wrong { reason } else { Reason::ProbeFailed })
    }
}

/// The growing share of calls that is admitted after closing.
///
/// Each call adds the share to a credit, and one that brings it to a whole is admitted: a share
/// of a third admits every third call, and no three in a row.
#[derive(Debug)]
pub(crate) struct Ramp {
    pub(crate) began: Tick,
    credit: u64,
}

impl Ramp {
    /// Fixed point, so that a tenth added ten times is a whole.
    const WHOLE: u64 = 1 << 32;

    pub(crate) fn new(began: Tick) -> Self {
        Self { began, credit: 0 }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0..=1
    pub(crate) fn resumed(began: Tick, credit: f64) -> Self {
        let credit = credit.clamp(0.0, 1.0) * Self::WHOLE as f64;
        Self { began, credit: credit as u64 }
    }

    /// What is saved up towards the next admission, as a share of 1.
    pub(crate) fn credit(&self) -> f64 {
        self.credit as f64 / Self::WHOLE as f64
    }

    pub(crate) fn admit(&mut self, config: &RampUp, now: Tick) -> bool {
        self.credit += Self::share(config, now.since(self.began));
        let admitted = self.credit >= Self::WHOLE;
        if admitted {
            self.credit -= Self::WHOLE;
        }
        admitted
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share is from 0 to 1
    fn share(config: &RampUp, elapsed: Duration) -> u64 {
        let progress = (elapsed.as_secs_f64() / config.time.as_secs_f64()).min(1.0);
        let share = config.start + (1.0 - config.start) * progress;
        (share * Self::WHOLE as f64).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backoff;

    fn config(jitter: f64) -> Config {
        Config {
            recovery_timeout: Duration::from_secs(10),
            backoff: Some(Backoff::new(2.0, Duration::from_secs(60)).jitter(jitter)),
            ..Config::default()
        }
    }

    #[test]
    fn jitter_never_lengthens_the_open_time_nor_leaves_its_share() {
        let config = config(0.2);
        let times: Vec<_> = (0..1000).map(|_| open_time(&config, 2, None)).collect();
        assert!(times.iter().all(|time| (16.0..=20.0).contains(&time.as_secs_f64())));
        assert!(times.iter().any(|time| time.as_secs_f64() < 17.0));
        assert!(times.iter().any(|time| time.as_secs_f64() > 19.0));
    }

    #[test]
    fn a_longer_retry_after_is_never_undercut() {
        let config = config(0.5);
        for _ in 0..1000 {
            let time = open_time(&config, 1, Some(Duration::from_secs(30)));
            assert!((30.0..=45.0).contains(&time.as_secs_f64()), "{time:?}");
            let capped = open_time(&config, 1, Some(Duration::from_secs(3000)));
            assert_eq!(capped, Duration::from_secs(60));
            // Shorter than the planned time, but longer than what jitter might draw.
            let shorter = open_time(&config, 1, Some(Duration::from_secs(9)));
            assert!((9.0..=10.0).contains(&shorter.as_secs_f64()), "{shorter:?}");
        }
    }

    #[test]
    fn what_is_left_at_a_restart_is_spread_and_never_longer() {
        let config = config(0.5);
        let left = Duration::from_secs(8);
        let times: Vec<_> = (0..1000).map(|_| restored_open_time(&config, left)).collect();
        assert!(times.iter().all(|time| (4.0..=8.0).contains(&time.as_secs_f64())));
        assert!(times.iter().any(|time| time.as_secs_f64() < 5.0));
        assert_eq!(restored_open_time(&Config::default(), left), left);
    }

    #[test]
    fn a_ramp_spreads_its_admissions_evenly_and_reaches_all() {
        let config = RampUp::new(0.1, Duration::from_secs(10));
        let began = Tick::new(Duration::ZERO);
        let mut ramp = Ramp::new(began);
        let admitted: Vec<u32> = (1..=40).filter(|_| ramp.admit(&config, began)).collect();
        assert_eq!(admitted, [10, 20, 30, 40]);
        let end = began.after(Duration::from_secs(10));
        assert!((0..100).all(|_| ramp.admit(&config, end)));
    }
}
