//! Checks that the values of a [`Config`] are in range.

use std::{fmt, time::Duration};

use humantime_serde::re::humantime::format_duration;

use super::{
    backoff::Backoff,
    fault::{ConfigError, Faults},
    settings::Config,
    trip::{Trip, Window},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const LARGEST_WINDOW: u32 = 1_000_000;
const MOST_DAYS: u32 = 365;
pub(crate) const LONGEST_NAME: usize = 512;

/// Checks the name of a breaker, which is at this path.
pub(crate) fn check_name(name: &str, path: impl Into<String>, faults: &mut Faults) {
    if !(1..=LONGEST_NAME).contains(&name.len()) {
        let message = format!("is {} bytes long, must be 1 to {LONGEST_NAME}", name.len());
        faults.add(path, message);
    }
}

impl Config {
    /// Checks that every value is in range.
    ///
    /// # Errors
    ///
    /// One error that lists every value out of range, with its path and the allowed range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        self.check("", &mut faults);
        faults.into_result(())
    }

    pub(crate) fn check(&self, path: &str, faults: &mut Faults) {
        let place = &FieldPath::new(path);
        for (index, trip) in self.trip_on.iter().enumerate() {
            trip.check(&place.item("trip_on", index), faults);
        }
        positive(faults, &place.field("recovery_timeout"), self.recovery_timeout);
        if let Some(backoff) = &self.backoff {
            backoff.check(&place.field("backoff"), self.recovery_timeout, faults);
        }
        at_least_one(faults, &place.field("success_threshold"), self.success_threshold);
        if let Some(calls) = self.half_open_max_calls {
            at_least_one(faults, &place.field("half_open_max_calls"), calls);
        }
        if let Some(rate) = self.half_open_failure_rate {
            threshold(faults, &place.field("half_open_failure_rate"), rate);
        }
        if let Some(timeout) = self.half_open_timeout {
            positive(faults, &place.field("half_open_timeout"), timeout);
        }
        if let Some(ramp) = &self.ramp_up {
            let place = &place.field("ramp_up");
            if !(0.0..1.0).contains(&ramp.start) {
                out_of_range(faults, &place.field("start"), ramp.start, "at least 0 and below 1");
            }
            positive(faults, &place.field("time"), ramp.time);
        }
        let ttl = &place.field("snapshot_ttl");
        positive(faults, &ttl.field("open"), self.snapshot_ttl.open);
        positive(faults, &ttl.field("closed"), self.snapshot_ttl.closed);
        if let Some(time) = self.abandoned_after {
            positive(faults, &place.field("abandoned_after"), time);
        }
        let days = self.history_retention_days;
        if !(1..=MOST_DAYS).contains(&days) {
            let allowed = format!("from 1 to {MOST_DAYS}");
            out_of_range(faults, &place.field("history_retention_days"), days, &allowed);
        }
        at_most_a_year(faults, &place.field("flush_interval"), self.flush_interval);
        let transitions = self.transition_flush_interval;
        at_most_a_year(faults, &place.field("transition_flush_interval"), transitions);
    }
}

impl Backoff {
    fn check(&self, place: &FieldPath<'_>, recovery_timeout: Duration, faults: &mut Faults) {
        if !(self.multiplier >= 1.0 && self.multiplier.is_finite()) {
            let multiplier = &place.field("multiplier");
            out_of_range(faults, multiplier, self.multiplier, "a finite number of at least 1");
        }
        let max = &place.field("max");
        positive(faults, max, self.max);
        // One that is out of range is a fault by itself.
        if self.max < recovery_timeout && recovery_timeout <= LONGEST {
            let allowed = format!("at least recovery_timeout, {}", Shown(recovery_timeout));
            out_of_range(faults, max, Shown(self.max), &allowed);
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            out_of_range(faults, &place.field("jitter"), self.jitter, "from 0 to 1");
        }
    }
}

impl Trip {
    fn check(&self, place: &FieldPath<'_>, faults: &mut Faults) {
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
                positive(faults, &place.field("slower_than"), slower_than);
            }
        }
    }
}

fn rate(
    faults: &mut Faults,
    place: &FieldPath<'_>,
    share: f64,
    window: Window,
    minimum_calls: u32,
) {
    threshold(faults, &place.field("threshold"), share);
    let window_place = &place.field("window");
    match window {
        Window::Calls(calls) => {
            if !(1..=LARGEST_WINDOW).contains(&calls) {
                let allowed = format!("from 1 to {LARGEST_WINDOW}");
                out_of_range(faults, &window_place.field("calls"), calls, &allowed);
            }
        }
        Window::Time(time) => {
            if !(Duration::from_millis(1)..=LONGEST).contains(&time) {
                let place = &window_place.field("time");
                out_of_range(faults, place, Shown(time), "from 1ms to 365days");
            }
        }
    }
    at_least_one(faults, &place.field("minimum_calls"), minimum_calls);
}

/// Also refuses NaN, which is outside every range.
fn threshold(faults: &mut Faults, place: &FieldPath<'_>, share: f64) {
    if !(share > 0.0 && share <= 1.0) {
        out_of_range(faults, place, share, "above 0 and at most 1");
    }
}

fn at_least_one(faults: &mut Faults, place: &FieldPath<'_>, count: u32) {
    if count == 0 {
        out_of_range(faults, place, count, "at least 1");
    }
}

fn positive(faults: &mut Faults, place: &FieldPath<'_>, duration: Duration) {
    if duration.is_zero() || duration > LONGEST {
        out_of_range(faults, place, Shown(duration), "above 0s and at most 365days");
    }
}

fn at_most_a_year(faults: &mut Faults, place: &FieldPath<'_>, duration: Duration) {
    if duration > LONGEST {
        out_of_range(faults, place, Shown(duration), "at most 365days");
    }
}

fn out_of_range(
    faults: &mut Faults,
    place: &FieldPath<'_>,
    value: impl fmt::Display,
    allowed: &str,
) {
    faults.add(place.to_string(), format!("{value} is out of range; must be {allowed}"));
}

/// Where a value is. The path is only written out for a fault: a start may check a hundred thousand
/// configurations, and writing all paths would take a sixth of its time.
struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    field: &'a str,
    index: Option<usize>,
}

impl<'a> FieldPath<'a> {
    const fn new(path: &'a str) -> Self {
        Self { parent: None, field: path, index: None }
    }

    const fn field(&'a self, field: &'a str) -> Self {
        Self { parent: Some(self), field, index: None }
    }

    const fn item(&'a self, field: &'a str, index: usize) -> Self {
        Self { parent: Some(self), field, index: Some(index) }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent.filter(|parent| !parent.field.is_empty()) {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.field)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}

/// A duration as a message shows it.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > LONGEST {
            // All units of a duration of several years would be noise.
            write!(f, "{}days", self.0.as_secs() / DAY.as_secs())
        } else {
            format_duration(self.0).fmt(f)
        }
    }
}
