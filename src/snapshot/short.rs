//! A snapshot without windows and notes in a third of the memory of its text. A start with many
//! breakers holds many.

use std::time::{Duration, SystemTime};

use super::Snapshot;
use crate::{event::Reason, state::State};

/// Such a snapshot of the current version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortSnapshot {
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
    pub(super) failure_count: u32,
    pub(super) half_open_attempts: u32,
    pub(super) half_open_successes: u32,
    pub(super) half_open_failures: u32,
    pub(super) consecutive_opens: u32,
    pub(super) opened_at: Moment,
    pub(super) open_until: Moment,
    pub(super) closed_at: Moment,
    pub(super) manual_until: Moment,
    pub(super) since: Moment,
    pub(super) saved_at: Moment,
    pub(super) expires_at: Moment,
}

/// Microseconds since 1970, or no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) const NONE: Self = Self(u64::MAX);

    pub(super) const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    fn time(self) -> Option<SystemTime> {
        if self == Self::NONE {
            return None;
        }
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(self.0))
    }
}

impl ShortSnapshot {
    /// The whole of it.
    pub(crate) fn to_snapshot(self) -> Snapshot {
        let saved_at = self.saved_at.time().unwrap_or(SystemTime::UNIX_EPOCH);
        Snapshot {
            state: self.state,
            failure_count: self.failure_count,
            opened_at: self.opened_at.time(),
            open_until: self.open_until.time(),
            half_open_attempts: self.half_open_attempts,
            half_open_successes: self.half_open_successes,
            half_open_failures: self.half_open_failures,
            consecutive_opens: self.consecutive_opens,
            closed_at: self.closed_at.time(),
            manual_until: self.manual_until.time(),
            since: self.since.time(),
            reason: self.reason,
            expires_at: self.expires_at.time(),
            saved_at,
            ..Snapshot::empty(SystemTime::UNIX_EPOCH)
        }
    }

    /// When half of its life has passed, if it expires.
    pub(crate) fn half_life(self) -> Option<SystemTime> {
        let (Moment(saved), expires) = (self.saved_at, self.expires_at);
        Moment(saved.midpoint(expires.0)).time().filter(|_| expires != Moment::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_third_of_the_text() {
        let json = Snapshot::empty(SystemTime::now()).to_json().unwrap();
        assert!(size_of::<Option<ShortSnapshot>>() <= json.len() / 3, "{}", json.len());
    }

    #[test]
    fn half_of_its_life_is_that_of_its_text() {
        let saved = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        for expires in [None, Some(saved), Some(saved + Duration::from_secs(3600))] {
            let snapshot = Snapshot { expires_at: expires, ..Snapshot::empty(saved) };
            let json = snapshot.to_json().unwrap();
            let short = Snapshot::read_short(json.as_bytes()).unwrap();
            assert_eq!(short.half_life(), Snapshot::half_life(json.as_bytes()));
            assert_eq!(short.to_snapshot(), snapshot);
        }
    }
}
