//! A breaker's state as data: what a store keeps, and what a restart begins with.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    config::SnapshotTtl,
    seconds::{self, exact_span, moment, optional_moment},
    state::State,
};

/// The state of one breaker at one moment: one JSON object, readable with any tool.
///
/// It holds everything that the state machine knows, so that a restart is invisible to it but
/// for the calls that were under way. Times are seconds since 1970, with fractions kept to the
/// microsecond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The version of this form: 1.
    pub version: u64,
    /// The state; past its open time an open circuit is half-open.
    pub state: State,
    /// The failures in a row; while open, those at which it tripped.
    #[serde(default)]
    pub failure_count: u32,
    /// When the circuit opened, if it is open.
    #[serde(default, with = "optional_moment")]
    pub opened_at: Option<SystemTime>,
    /// When the open time ends, if it is open.
    #[serde(default, with = "optional_moment")]
    pub open_until: Option<SystemTime>,
    /// The probes admitted since the circuit became half-open.
    #[serde(default)]
    pub half_open_attempts: u32,
    /// Those of them that succeeded.
    #[serde(default)]
    pub half_open_successes: u32,
    /// Those of them that failed or were slow.
    #[serde(default)]
    pub half_open_failures: u32,
    /// The openings in a row without closing: the step of the backoff.
    #[serde(default)]
    pub consecutive_opens: u32,
    /// When the circuit closed, while its ramp-up lasts.
    #[serde(default, with = "optional_moment")]
    pub closed_at: Option<SystemTime>,
    /// The share that the ramp-up has saved up towards its next admission, from 0 to 1.
    #[serde(default)]
    pub ramp_credit: f64,
    /// The window of each rate rule, in the order of the rules.
    #[serde(default)]
    pub windows: Vec<WindowSnapshot>,
    /// When this was written.
    #[serde(with = "moment")]
    pub saved_at: SystemTime,
    /// Until when the store is to keep this if no breaker uses it any more, by the
    /// [`SnapshotTtl`]. `None` for states that were set by hand: for ever. (In snapshots of
    /// earlier versions it is missing; the default times hold for those.)
    #[serde(default, with = "optional_moment")]
    pub expires_at: Option<SystemTime>,
}

impl Snapshot {
    /// The version that this crate writes, and the newest that it reads.
    pub const VERSION: u64 = 1;

    /// That of a closed circuit that has seen nothing.
    pub(crate) fn empty(saved_at: SystemTime) -> Self {
        Self {
            version: Self::VERSION,
            state: State::Closed,
            failure_count: 0,
            opened_at: None,
            open_until: None,
            half_open_attempts: 0,
            half_open_successes: 0,
            half_open_failures: 0,
            consecutive_opens: 0,
            closed_at: None,
            ramp_credit: 0.0,
            windows: Vec::new(),
            saved_at: seconds::rounded(saved_at),
            expires_at: None,
        }
    }

    /// When the store may remove this if no breaker uses it; `None`: never.
    pub(crate) fn expiry(&self) -> Option<SystemTime> {
        if self.state.is_manual() {
            return None;
        }
        self.expires_at.or_else(|| self.expiry_by(SnapshotTtl::default()))
    }

    /// The same by these times to live. The snapshot of an open circuit lives at least as long as
    /// the circuit stays open.
    pub(crate) fn expiry_by(&self, ttl: SnapshotTtl) -> Option<SystemTime> {
        let (ttl, at_least) = match self.state {
            State::Closed | State::HalfOpen => (ttl.closed, None),
            State::Open => (ttl.open, self.open_until),
            State::ForcedOpen | State::Disabled | State::MetricsOnly => return None,
        };
        self.saved_at.checked_add(ttl).map(|expiry| at_least.map_or(expiry, |at| expiry.max(at)))
    }

    /// How long this is of use to a store, counted from when it was written. `None`: for ever.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        Some(self.expires_at?.duration_since(self.saved_at).unwrap_or_default())
    }

    /// The snapshot as JSON.
    ///
    /// # Errors
    ///
    /// Never for a snapshot that came from a breaker; a number that JSON cannot hold otherwise.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads a snapshot from JSON.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] where the text is no snapshot, or one of a newer version of this crate.
    pub fn from_json(json: &[u8]) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        // As a rule one look is enough, and a start with many breakers has many to read.
        // All of the text is checked to be text at once, which takes less time than each of its strings does.
        if let Ok(text) = std::str::from_utf8(json)
            && let Ok(snapshot @ Self { version: Self::VERSION, .. }) = serde_json::from_str(text)
        {
            return Ok(snapshot);
        }
        // The version alone first: a newer form may look different in every other way.
        let corrupt = |error: serde_json::Error| SnapshotError::Corrupt(error.to_string());
        let Versioned { version } = serde_json::from_slice(json).map_err(corrupt)?;
        match version {
            0 => Err(SnapshotError::Corrupt("version 0 does not exist".to_owned())),
            1 => serde_json::from_slice(json).map_err(corrupt),
            newer => Err(SnapshotError::NewerVersion(newer)),
        }
    }
}

/// Why bytes are no snapshot that can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are damaged, or were never one.
    Corrupt(String),
    /// They were written by a newer version of this crate, in this version of the form.
    NewerVersion(u64),
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Corrupt(why) => write!(f, "the snapshot cannot be read: {why}"),
            Self::NewerVersion(version) => write!(
                f,
                "the snapshot has version {version}, and this build reads up to version {}: \
                 update tower-breaker, or give the older build a store of its own",
                Snapshot::VERSION,
            ),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// The window of one rate rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WindowSnapshot {
    /// `failure_rate` or `slow_call_rate`.
    pub rule: String,
    /// The calls in the window.
    pub calls: u64,
    /// The failed ones.
    pub failures: u64,
    /// The slow ones.
    pub slow_calls: u64,
    /// What the window holds.
    #[serde(flatten)]
    pub content: WindowContent,
}

/// What a window holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WindowContent {
    /// A count window: a letter a call, the oldest first. `.` succeeded, `f` failed, `s` was
    /// slow, `b` was both. A number stands for that many of the letter after it: `97.f2s`.
    Results(String),
    /// A time window: its buckets, the newest first, without those that are empty (but for the
    /// newest).
    Buckets(Vec<BucketSnapshot>),
}

/// A bucket of a time window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BucketSnapshot {
    /// How long before the snapshot the bucket began.
    #[serde(with = "exact_span")]
    pub age: Duration,
    /// The calls in it.
    pub calls: u64,
    /// The failed ones.
    pub failures: u64,
    /// The slow ones.
    pub slow_calls: u64,
}

impl BucketSnapshot {
    pub(crate) const fn new(age: Duration, calls: u64, failures: u64, slow_calls: u64) -> Self {
        Self { age, calls, failures, slow_calls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let newer = Snapshot::from_json(br#"{"version": 7, "shape": "another"}"#);
        assert_eq!(newer, Err(SnapshotError::NewerVersion(7)));
        for damaged in [&b"{"[..], b"", b"[]", br#"{"version": 1}"#, br#"{"version": 0}"#] {
            let read = Snapshot::from_json(damaged);
            assert!(matches!(read, Err(SnapshotError::Corrupt(_))), "{read:?}");
        }
    }
}
