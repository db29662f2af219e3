//! Times as numbers of seconds, the form that JSON has for them: moments since 1970, spans as they
//! are, both with fractions kept to the microsecond.
//!
//! A 64-bit float holds a present-day microsecond exactly enough to come back as the same one.

use std::time::{Duration, SystemTime};

/// Seconds since 1970, rounded to the microsecond. They are negative for a time before 1970, as a
/// machine without a battery may say until it has asked for the time.
pub(crate) fn since_epoch(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => to_micros(since),
        Err(before) => -to_micros(before.duration()),
    }
}

/// The time this many seconds after 1970, or before it if they are negative; `None` if that is out
/// of range.
pub(crate) fn at(seconds: f64) -> Option<SystemTime> {
    let span = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    let micros = (span.subsec_nanos() + 500) / 1000;
    let rounded =
        Duration::from_secs(span.as_secs()).checked_add(Duration::from_micros(micros.into()))?;
    if seconds < 0.0 {
        SystemTime::UNIX_EPOCH.checked_sub(rounded)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(rounded)
    }
}

/// The time rounded to the microsecond, as it comes back from seconds.
pub(crate) fn rounded(time: SystemTime) -> SystemTime {
    at(since_epoch(time)).unwrap_or(time)
}

/// The span as a number of seconds can hold it: to the nanosecond, or less for very long ones.
pub(crate) fn representable(span: Duration) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64()).unwrap_or(span)
}

fn to_micros(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e6
}

/// A [`SystemTime`] in seconds since 1970.
pub(crate) mod moment {
    use super::{SystemTime, at, since_epoch};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(since_epoch(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        at(f64::deserialize(from)?).ok_or_else(|| de::Error::custom("not a time"))
    }
}

/// A moment, or none. What is out of range is read as none, so that one damaged
/// time does not make the rest unreadable.
pub(crate) mod optional_moment {
    use super::{SystemTime, at, since_epoch};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(since_epoch).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.and_then(at))
    }
}

/// A moment, or none. A damaged time is an error, not none.
pub(crate) mod strict_optional_moment {
    use super::{SystemTime, at};
    use serde::{Deserialize, Deserializer, de};

    pub(crate) use super::optional_moment::serialize;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        let time = |seconds| at(seconds).ok_or_else(|| de::Error::custom("not a time"));
        seconds.map(time).transpose()
    }
}

/// An optional [`Duration`] in seconds.
pub(crate) mod optional_span {
    use super::{Duration, to_micros};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(to_micros).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(de::Error::custom)
    }
}

/// A [`Duration`] in seconds, exact. What is out of range is read as the longest one.
pub(crate) mod exact_span {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(span.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Ok(Duration::try_from_secs_f64(f64::deserialize(from)?).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microsecond_survives_the_conversion_to_seconds_and_back() {
        for micros in (0..3_000_000).step_by(7919) {
            let time = SystemTime::UNIX_EPOCH
                + Duration::from_secs(1_700_000_000)
                + Duration::from_micros(micros);
            assert_eq!(at(since_epoch(time)), Some(time));
        }
    }

    #[test]
    fn a_time_before_1970_comes_back_as_the_same() {
        for micros in (0..3_000_000).step_by(7919) {
            for years in [0, 1, 50] {
                let before = Duration::from_secs(years * 365 * 24 * 3600);
                let time = SystemTime::UNIX_EPOCH - before - Duration::from_micros(micros);
                assert_eq!(at(since_epoch(time)), Some(time));
            }
        }
        let last = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(at(since_epoch(last)), Some(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn seconds_out_of_range_are_not_a_time() {
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            assert_eq!(at(seconds), None);
        }
    }
}
