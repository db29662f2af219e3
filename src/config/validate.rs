use std::{fmt, time::Duration};

use super::{Config, ConfigError, Trip, Window, fault::Faults};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const LARGEST_WINDOW: u32 = 1_000_000;

/// Where a value stands. It becomes text only where the value is wrong: a start may check a hundred thousand
/// configurations, one a breaker, and to write out the paths of each would be a sixth of its work.
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    field: &'a str,
    index: Option<usize>,
}

impl<'a> Place<'a> {
    const fn new(path: &'a str) -> Self {
        Self { above: None, field: path, index: None }
    }

    const fn field(&'a self, field: &'a str) -> Self {
        Self { above: Some(self), field, index: None }
    }

    const fn item(&'a self, field: &'a str, index: usize) -> Self {
        Self { above: Some(self), field, index: Some(index) }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above.filter(|above| !above.field.is_empty()) {
            write!(f, "{above}.")?;
        }
        f.write_str(self.field)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}

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
        let place = &Place::new(path);
        for (index, trip) in self.trip_on.iter().enumerate() {
            trip.check(&place.item("trip_on", index), faults);
        }
        duration(faults, &place.field("recovery_timeout"), self.recovery_timeout);
        self.check_backoff(place, faults);
        at_least_one(faults, &place.field("success_threshold"), self.success_threshold);
        if let Some(calls) = self.half_open_max_calls {
            at_least_one(faults, &place.field("half_open_max_calls"), calls);
        }
        if let Some(rate) = self.half_open_failure_rate {
            threshold(faults, &place.field("half_open_failure_rate"), rate);
        }
        if let Some(timeout) = self.half_open_timeout {
            duration(faults, &place.field("half_open_timeout"), timeout);
        }
        if let Some(ramp) = &self.ramp_up {
            if !(0.0..1.0).contains(&ramp.start) {
                let message = format!("is {}, must be at least 0 and below 1", ramp.start);
                faults.add(place.field("ramp_up.start").to_string(), message);
            }
            duration(faults, &place.field("ramp_up.time"), ramp.time);
        }
        duration(faults, &place.field("snapshot_ttl.open"), self.snapshot_ttl.open);
        duration(faults, &place.field("snapshot_ttl.closed"), self.snapshot_ttl.closed);
        let days = self.history_retention_days;
        if !(1..=365).contains(&days) {
            let message = format!("is {days}, must be from 1 to 365");
            faults.add(place.field("history_retention_days").to_string(), message);
        }
    }

    fn check_backoff(&self, place: &Place<'_>, faults: &mut Faults) {
        let Some(backoff) = &self.backoff else {
            return;
        };
        if !(backoff.multiplier >= 1.0 && backoff.multiplier.is_finite()) {
            let message = format!("is {}, must be a number of at least 1", backoff.multiplier);
            faults.add(place.field("backoff.multiplier").to_string(), message);
        }
        let max = place.field("backoff.max");
        duration(faults, &max, backoff.max);
        if backoff.max < self.recovery_timeout {
            let (is, least) = (text(backoff.max), text(self.recovery_timeout));
            faults.add(
                max.to_string(),
                format!("is {is}, must be at least recovery_timeout ({least})"),
            );
        }
        if !(0.0..=1.0).contains(&backoff.jitter) {
            let message = format!("is {}, must be from 0 to 1", backoff.jitter);
            faults.add(place.field("backoff.jitter").to_string(), message);
        }
    }
}

impl Trip {
    fn check(&self, place: &Place<'_>, faults: &mut Faults) {
        match *self {
            Self::ConsecutiveFailures(failures) => {
                at_least_one(faults, &place.field("consecutive_failures"), failures);
            }
            Self::FailureRate { threshold, window, minimum_calls } => {
                rate(faults, &place.field("failure_rate"), threshold, window, minimum_calls);
            }
            Self::SlowCallRate { threshold, slower_than, window, minimum_calls } => {
                let place = &place.field("slow_call_rate");
                rate(faults, place, threshold, window, minimum_calls);
                duration(faults, &place.field("slower_than"), slower_than);
            }
        }
    }
}

fn rate(faults: &mut Faults, place: &Place<'_>, share: f64, window: Window, minimum_calls: u32) {
    threshold(faults, &place.field("threshold"), share);
    match window {
        Window::Calls(calls) => {
            if !(1..=LARGEST_WINDOW).contains(&calls) {
                let message = format!("is {calls}, must be from 1 to {LARGEST_WINDOW}");
                faults.add(place.field("window.calls").to_string(), message);
            }
        }
        Window::Time(time) => {
            if !(Duration::from_millis(1)..=LONGEST).contains(&time) {
                let message = format!("is {}, must be from 1ms to 365days", text(time));
                faults.add(place.field("window.time").to_string(), message);
            }
        }
    }
    at_least_one(faults, &place.field("minimum_calls"), minimum_calls);
}

/// NaN is outside every range, so it is caught here too.
fn threshold(faults: &mut Faults, place: &Place<'_>, share: f64) {
    if !(share > 0.0 && share <= 1.0) {
        faults.add(place.to_string(), format!("is {share}, must be above 0 and at most 1"));
    }
}

fn at_least_one(faults: &mut Faults, place: &Place<'_>, count: u32) {
    if count == 0 {
        faults.add(place.to_string(), "is 0, must be at least 1");
    }
}

fn duration(faults: &mut Faults, place: &Place<'_>, duration: Duration) {
    if duration.is_zero() || duration > LONGEST {
        let message = format!("is {}, must be above 0s and at most 365days", text(duration));
        faults.add(place.to_string(), message);
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
