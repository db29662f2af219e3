//! How long the circuit stays open.

use std::time::Duration;

use crate::config::Config;

/// The open time of the `opening`-th consecutive opening.
///
/// Without jitter this is [`Config::open_time`] or, with a backoff, a failure's own
/// `retry_after` where that is longer. Jitter shortens the former, so that it never exceeds the
/// configured time, and lengthens the latter, so that no call arrives before the dependency asked
/// for it.
pub(super) fn open_time(config: &Config, opening: u32, retry_after: Option<Duration>) -> Duration {
    let planned = config.open_time(opening);
    let Some(backoff) = &config.backoff else {
        return planned;
    };
    let requested = retry_after.unwrap_or_default().min(backoff.max);
    if requested > planned {
        let longest = requested.mul_f64(1.0 + backoff.jitter).min(backoff.max);
        return random_between(requested, longest);
    }
    random_between(planned.mul_f64(1.0 - backoff.jitter).max(requested), planned)
}

/// The open time after a restart that left `remaining` of it. It is never longer than that;
/// jitter spreads the breakers of a process so that they do not all probe at once.
pub(super) fn restored_open_time(config: &Config, remaining: Duration) -> Duration {
    let jitter = config.backoff.map_or(0.0, |backoff| backoff.jitter);
    random_between(remaining.mul_f64(1.0 - jitter), remaining)
}

/// The longest open time that the configuration allows, jitter included.
pub(super) fn longest_open_time(config: &Config) -> Duration {
    config.backoff.as_ref().map_or(config.recovery_timeout, |backoff| backoff.max)
}

fn random_between(shortest: Duration, longest: Duration) -> Duration {
    let span = longest.saturating_sub(shortest);
    if span.is_zero() {
        return longest;
    }
    shortest + span.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Backoff;

    fn config(jitter: f64) -> Config {
        Config {
            recovery_timeout: Duration::from_secs(10),
            backoff: Some(Backoff::new(2.0, Duration::from_secs(60)).jitter(jitter)),
            ..Config::default()
        }
    }

    #[test]
    fn jitter_only_shortens_the_open_time_and_by_no_more_than_its_share() {
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
    fn jitter_spreads_the_remaining_time_after_a_restart_and_never_lengthens_it() {
        let config = config(0.5);
        let left = Duration::from_secs(8);
        let times: Vec<_> = (0..1000).map(|_| restored_open_time(&config, left)).collect();
        assert!(times.iter().all(|time| (4.0..=8.0).contains(&time.as_secs_f64())));
        assert!(times.iter().any(|time| time.as_secs_f64() < 5.0));
        assert_eq!(restored_open_time(&Config::default(), left), left);
    }
}
