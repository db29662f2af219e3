use std::time::Duration;

use super::{
    Config, ConfigError, Trip, Window,
    fault::{Faults, join},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const LARGEST_WINDOW: u32 = 1_000_000;

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// One error that lists all values that are out of their range, each with its path and what
    /// is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        self.check("", &mut faults);
        faults.into_result(())
    }

    pub(crate) fn check(&self, path: &str, faults: &mut Faults) {
        for (index, trip) in self.trip_on.iter().enumerate() {
            trip.check(&join(path, &format!("trip_on[{index}]")), faults);
        }
        duration(faults, &join(path, "recovery_timeout"), self.recovery_timeout);
        self.check_backoff(path, faults);
        at_least_one(faults, &join(path, "success_threshold"), self.success_threshold);
        if let Some(calls) = self.half_open_max_calls {
            at_least_one(faults, &join(path, "half_open_max_calls"), calls);
        }
        if let Some(rate) = self.half_open_failure_rate {
            threshold(faults, &join(path, "half_open_failure_rate"), rate);
        }
        if let Some(timeout) = self.half_open_timeout {
            duration(faults, &join(path, "half_open_timeout"), timeout);
        }
        if let Some(ramp) = &self.ramp_up {
            if !(0.0..1.0).contains(&ramp.start) {
                let message = format!("is {}, must be at least 0 and below 1", ramp.start);
                faults.add(join(path, "ramp_up.start"), message);
            }
            duration(faults, &join(path, "ramp_up.time"), ramp.time);
        }
        duration(faults, &join(path, "snapshot_ttl.open"), self.snapshot_ttl.open);
        duration(faults, &join(path, "snapshot_ttl.closed"), self.snapshot_ttl.closed);
        let days = self.history_retention_days;
        if !(1..=365).contains(&days) {
            let message = format!("is {days}, must be from 1 to 365");
            faults.add(join(path, "history_retention_days"), message);
        }
    }

    fn check_backoff(&self, path: &str, faults: &mut Faults) {
        let Some(backoff) = &self.backoff else {
            return;
        };
        if !(backoff.multiplier >= 1.0 && backoff.multiplier.is_finite()) {
            let message = format!("is {}, must be a number of at least 1", backoff.multiplier);
            faults.add(join(path, "backoff.multiplier"), message);
        }
        let max = join(path, "backoff.max");
        duration(faults, &max, backoff.max);
        if backoff.max < self.recovery_timeout {
            let (is, least) = (text(backoff.max), text(self.recovery_timeout));
            faults.add(max, format!("is {is}, must be at least recovery_timeout ({least})"));
        }
        if !(0.0..=1.0).contains(&backoff.jitter) {
            let message = format!("is {}, must be from 0 to 1", backoff.jitter);
            faults.add(join(path, "backoff.jitter"), message);
        }
    }
}

impl Trip {
    fn check(&self, path: &str, faults: &mut Faults) {
        match *self {
            Self::ConsecutiveFailures(failures) => {
                at_least_one(faults, &join(path, "consecutive_failures"), failures);
            }
            Self::FailureRate { threshold, window, minimum_calls } => {
                rate(faults, &join(path, "failure_rate"), threshold, window, minimum_calls);
            }
            Self::SlowCallRate { threshold, slower_than, window, minimum_calls } => {
                let path = join(path, "slow_call_rate");
                rate(faults, &path, threshold, window, minimum_calls);
                duration(faults, &join(&path, "slower_than"), slower_than);
            }
        }
    }
}

fn rate(faults: &mut Faults, path: &str, share: f64, window: Window, minimum_calls: u32) {
    threshold(faults, &join(path, "threshold"), share);
    match window {
        Window::Calls(calls) => {
            if !(1..=LARGEST_WINDOW).contains(&calls) {
                let message = format!("is {calls}, must be from 1 to {LARGEST_WINDOW}");
                faults.add(join(path, "window.calls"), message);
            }
        }
        Window::Time(time) => {
            if !(Duration::from_millis(1)..=LONGEST).contains(&time) {
                let message = format!("is {}, must be from 1ms to 365days", text(time));
                faults.add(join(path, "window.time"), message);
            }
        }
    }
    at_least_one(faults, &join(path, "minimum_calls"), minimum_calls);
}

/// NaN is outside every range, so it is caught here too.
fn threshold(faults: &mut Faults, path: &str, share: f64) {
    if !(share > 0.0 && share <= 1.0) {
        faults.add(path, format!("is {share}, must be above 0 and at most 1"));
    }
}

fn at_least_one(faults: &mut Faults, path: &str, count: u32) {
    if count == 0 {
        faults.add(path, "is 0, must be at least 1");
    }
}

fn duration(faults: &mut Faults, path: &str, duration: Duration) {
    if duration.is_zero() || duration > LONGEST {
        let message = format!("is {}, must be above 0s and at most 365days", text(duration));
        faults.add(path, message);
    }
}

fn text(duration: Duration) -> String {
    // The words of a duration of more than some years would be noise.
    if duration > LONGEST {
        format!("{} days", duration.as_secs() / DAY.as_secs())
    } else {
        humantime_serde::re::humantime::format_duration(duration).to_string()
    }
}
