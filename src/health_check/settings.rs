use std::time::Duration;

use crate::config::{ConfigError, Faults};

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) interval: Duration,
    pub(super) jitter: f64,
    pub(super) timeout: Duration,
    pub(super) always: bool,
    pub(super) unhealthy_threshold: u32,
    pub(super) recover_early: bool,
    pub(super) healthy_threshold: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            jitter: 0.1,
            timeout: Duration::from_secs(5),
            always: false,
            unhealthy_threshold: 3,
            recover_early: false,
            healthy_threshold: 1,
        }
    }
}

/// Longer intervals are cut to this, so that sums of times cannot overflow.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

impl Settings {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        for (path, time) in [("interval", self.interval), ("timeout", self.timeout)] {
            if time.is_zero() {
                faults.add(path, "0s is out of range; must be above 0");
            }
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            faults.add("jitter", format!("{} is out of range; must be 0 to 1", self.jitter));
        }
        let thresholds = [
            ("unhealthy_threshold", self.unhealthy_threshold),
            ("healthy_threshold", self.healthy_threshold),
        ];
        for (path, threshold) in thresholds {
            if threshold == 0 {
                faults.add(path, "0 is out of range; must be at least 1");
            }
        }
        faults.into_result(())
    }

    /// The time from the start of a check to the start of the next one.
    pub(super) fn next_interval(&self) -> Duration {
        let interval = self.interval.min(LONGEST);
        interval + interval.mul_f64(self.jitter * fastrand::f64())
    }

    /// The time until the first check of a closed circuit.
    pub(super) fn first_interval(&self) -> Duration {
        self.interval.min(LONGEST).mul_f64(fastrand::f64())
    }
}
