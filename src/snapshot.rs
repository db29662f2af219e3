//! The state of a breaker as data. Whether one is too old is judged by `breaker::restore`.

mod canonical;
mod damaged;
mod packed;
mod position;
mod short;
mod windows;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::SnapshotTtl,
    event::{Reason, known_reason},
    seconds::{self, moment, optional_moment, strict_optional_moment},
    state::State,
};

pub(crate) use position::WindowPosition;
pub(crate) use short::ShortSnapshot;
pub use windows::{BucketSnapshot, WindowContent, WindowSnapshot};

/// The state of one breaker at one moment: one JSON object, readable with any tool.
///
/// It holds everything that the state machine knows, so that a restart loses nothing but the calls
/// in flight. In JSON, times are seconds since 1970, with fractions kept to the microsecond, and
/// negative before it.
///
/// In a stored snapshot, a large count window with many failures has its calls as `packed` instead
/// of `results`, three calls a character; [`from_json`](Self::from_json) reads both.
///
/// A stored snapshot of more than 4 kB, such as that of a window of a million calls with many
/// failures, is not written anew for each call. A second one that holds only the newest calls of
/// its windows, and all else, is stored beside it under `circuit_breaker:{name}:recent`, and a
/// restart reads both. The first is written anew with each transition, after as many calls as make
/// a sixteenth of a window, and every five minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The version of this format: 1.
    pub version: u64,
    /// The oldest version of the format whose readers understand this snapshot. They ignore the
    /// fields that they do not know.
    #[serde(default = "first_version")]
    pub readable_from: u64,
    /// The state. Past its open time, an open circuit is half-open.
    pub state: State,
    /// The consecutive failures; while open, the number at which the circuit tripped.
    #[serde(default)]
    pub failure_count: u32,
    /// When the circuit opened, if it is open.
    #[serde(default, with = "optional_moment")]
    pub opened_at: Option<SystemTime>,
    /// When the open time ends, if it is open.
    #[serde(default, with = "optional_moment")]
    pub open_until: Option<SystemTime>,
    /// The number of probes admitted since the circuit became half-open.
    #[serde(default)]
    pub half_open_attempts: u32,
    /// The number of them that succeeded.
    #[serde(default)]
    pub half_open_successes: u32,
    /// The number of them that failed or were slow.
    #[serde(default)]
    pub half_open_failures: u32,
    /// How often the circuit opened since it was last closed: the step of the backoff.
    #[serde(default)]
    pub consecutive_opens: u32,
    /// When the circuit closed, while its ramp-up lasts.
    #[serde(default, with = "optional_moment")]
    pub closed_at: Option<SystemTime>,
    /// The fraction of an admission that the ramp-up has accumulated, from 0 to 1.
    #[serde(default)]
    pub ramp_credit: f64,
    /// The window of each rate rule, in the order of the rules.
    #[serde(default)]
    pub windows: Vec<WindowSnapshot>,
    /// Until when the state lasts, if it was set by hand for a time. Early versions do not know
    /// this field: to them, the state lasts until it is changed by hand.
    #[serde(default, with = "strict_optional_moment")]
    pub manual_until: Option<SystemTime>,
    /// When the state began: the time of the last transition, also of one before a restart. `None`
    /// if there was none, or where an early version did not save it.
    #[serde(default, with = "optional_moment", skip_serializing_if = "Option::is_none")]
    pub since: Option<SystemTime>,
    /// Why the state began: the reason of the last transition. `None` as for `since`.
    #[serde(default, deserialize_with = "known_reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The [note](crate::ManualChange::note) of the change by hand that began the state: any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// Who made the change [by hand](crate::ManualChange::by) that began the state: any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// When this snapshot was taken.
    #[serde(with = "moment")]
    pub saved_at: SystemTime,
    /// When the store may remove this snapshot if no breaker uses it, by the [`SnapshotTtl`].
    /// `None`: never, for states set by hand for good. (Snapshots of early versions lack it; the
    /// default times to live apply to them.)
    #[serde(default, with = "optional_moment")]
    pub expires_at: Option<SystemTime>,
    /// Identifies a large snapshot, for those that continue it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    /// The id of the snapshot that this one continues: its count windows hold only the calls since
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) continues: Option<u64>,
}

impl Snapshot {
    /// The version that this crate writes, and the newest that it reads.
    pub const VERSION: u64 = 1;

    /// The snapshot of a closed circuit without calls.
    pub(crate) fn empty(saved_at: SystemTime) -> Self {
        Self {
            version: Self::VERSION,
            readable_from: first_version(),
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
            manual_until: None,
            since: None,
            reason: None,
            note: None,
            by: None,
            saved_at: seconds::rounded(saved_at),
            expires_at: None,
            id: None,
            continues: None,
        }
    }

    /// When the store may remove this if no breaker uses it; `None`: never.
    pub(crate) fn expiry(&self) -> Option<SystemTime> {
        if self.state.is_manual() && self.manual_until.is_none() {
            return None;
        }
        self.expires_at.or_else(|| self.expiry_by(SnapshotTtl::default(), Duration::ZERO))
    }

    /// The expiry by these times to live. The snapshot of a circuit lives at least as long as the
    /// circuit stays open, and then half-open by the `half_open_timeout`; that of a state set by
    /// hand for a time as long as this time.
    pub(crate) fn expiry_by(
        &self,
        ttl: SnapshotTtl,
        half_open_timeout: Duration,
    ) -> Option<SystemTime> {
        let needed_from = |time: SystemTime| time.checked_add(half_open_timeout);
        let (ttl, at_least) = match self.state {
            State::Closed => (ttl.closed, None),
            State::HalfOpen => (ttl.closed, needed_from(self.saved_at)),
            State::Open => (ttl.open, self.open_until.and_then(needed_from)),
            State::ForcedOpen | State::Disabled | State::MetricsOnly => {
                (ttl.open, Some(self.manual_until?))
            }
        };
        let expiry = self.saved_at.checked_add(ttl)?;
        Some(seconds::rounded(at_least.map_or(expiry, |at| expiry.max(at))))
    }

    /// How long this is valid in a store, counted from when it was written. `None`: without limit.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        Some(self.expires_at?.duration_since(self.saved_at).unwrap_or_default())
    }

    /// The snapshot as JSON.
    ///
    /// # Errors
    ///
    /// Never for a snapshot of a breaker; only if a field was set to a number that JSON cannot
    /// hold.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads a snapshot from JSON. Of a newer version of this crate, it reads what it knows, if the
    /// snapshot says that this version [may read it](Self::readable_from).
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if the text is not a snapshot, or one of a newer version of this crate
    /// that this one may not read.
    pub fn from_json(json: &[u8]) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Versions {
            version: u64,
            readable_from: Option<u64>,
        }
        if let Some(snapshot) = Self::read_short(json) {
            return Ok(snapshot.to_snapshot());
        }
        // The current version is parsed once: a start with many breakers has many to read. And
        // checking the whole for UTF-8 costs less than checking each of its strings.
        if let Ok(text) = std::str::from_utf8(json)
            && let Ok(snapshot @ Self { version: Self::VERSION, .. }) = serde_json::from_str(text)
        {
            return Ok(snapshot.unpacked());
        }
        // Then the versions alone: a newer format may differ in every other way.
        let corrupt = |error: serde_json::Error| SnapshotError::Corrupt(error.to_string());
        let Versions { version, readable_from } = serde_json::from_slice(json).map_err(corrupt)?;
        let is_readable = readable_from.is_some_and(|from| (1..=Self::VERSION).contains(&from));
        match version {
            0 => Err(SnapshotError::Corrupt("version 0 does not exist".to_owned())),
            1 => serde_json::from_slice(json).map(Self::unpacked).map_err(corrupt),
            newer if is_readable => {
                Self::read_known(json).ok_or(SnapshotError::NewerVersion(newer))
            }
            newer => Err(SnapshotError::NewerVersion(newer)),
        }
    }

    /// Reads what this version knows of a newer one: the windows of rules that it does not know
    /// are left out.
    fn read_known(json: &[u8]) -> Option<Self> {
        let mut snapshot: serde_json::Value = serde_json::from_slice(json).ok()?;
        if let Some(windows) =
            snapshot.get_mut("windows").and_then(|windows| windows.as_array_mut())
        {
            windows.retain(|window| WindowSnapshot::deserialize(window).is_ok());
        }
        serde_json::from_value(snapshot).map(Self::unpacked).ok()
    }

    /// Reads the text that this version writes for a snapshot without windows and notes, and no
    /// other: `None` is no error.
    pub(crate) fn read_short(json: &[u8]) -> Option<ShortSnapshot> {
        canonical::read(json)
    }

    /// Packs the calls of large count windows, where that is shorter.
    pub(crate) fn pack(&mut self) {
        const READABLE: usize = 1000;
        for window in &mut self.windows {
            if let WindowContent::Results(results) = &mut window.content
                && results.len() > READABLE
            {
                window.packed = packed::pack(results);
                if window.packed.is_some() {
                    results.clear();
                }
            }
        }
    }

    fn unpacked(mut self) -> Self {
        for window in &mut self.windows {
            if let (Some(packed), WindowContent::Results(results)) =
                (window.packed.take(), &mut window.content)
            {
                results.insert_str(0, &packed::unpack(&packed).unwrap_or_default());
            }
        }
        self
    }

    /// When half of the life of a stored snapshot has passed, if it expires.
    pub(crate) fn half_life(json: &[u8]) -> Option<SystemTime> {
        // They are among the last fields; a whole parse would cost a start with many breakers.
        let end = std::str::from_utf8(&json[json.len().saturating_sub(200)..]).ok()?;
        let field = |name: &str| -> Option<f64> {
            let (_, rest) = end.rsplit_once(name)?;
            rest.split([',', '}']).next()?.parse().ok()
        };
        let (saved, expires) = (field("\"saved_at\":")?, field("\"expires_at\":")?);
        seconds::at(f64::midpoint(saved, expires))
    }

    /// Whether the bytes may be a snapshot that another one continues.
    pub(crate) fn may_be_continued(json: &[u8]) -> bool {
        const ID: &[u8] = b"\"id\":";
        // It is the last field.
        let end = &json[json.len().saturating_sub(40)..];
        Self::is_large(json.len()) && end.windows(ID.len()).any(|bytes| bytes == ID)
    }

    /// Whether a snapshot of this many bytes is continued instead of being written anew each time.
    pub(crate) const fn is_large(bytes: usize) -> bool {
        bytes >= 4096
    }

    /// This snapshot together with one that continues it. One that continues another is ignored.
    pub(crate) fn continued_by(self, newer: Self) -> Self {
        let continues = self.id.is_some() && newer.continues == self.id;
        if !continues || newer.windows.len() != self.windows.len() {
            return self;
        }
        let windows = self.windows.into_iter().zip(newer.windows).map(|(old, mut new)| {
            if let (WindowContent::Results(before), WindowContent::Results(since)) =
                (old.content, &mut new.content)
            {
                // A window drops the oldest calls, if there are more than it holds.
                since.insert_str(0, &before);
            }
            new
        });
        Self { windows: windows.collect(), id: None, continues: None, ..newer }
    }

    /// What can be recovered from a damaged snapshot: that the circuit was open or half-open, if
    /// the state and its times are readable and valid. A state set by hand is not read from damaged
    /// bytes.
    pub(crate) fn from_damaged(json: &[u8]) -> Option<Self> {
        damaged::read(json)
    }
}

/// Since then, each version has been readable by all later ones.
const fn first_version() -> u64 {
    1
}

/// Why bytes cannot be restored as a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are damaged, or were never a snapshot.
    Corrupt(String),
    /// A newer version of this crate wrote them, in this version of the format.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_newer_version_is_read_if_it_says_so() {
        let newer = br#"{"version": 2, "readable_from": 1, "state": "open", "failure_count": 7,
            "opened_at": 100.5, "open_until": 160.5, "saved_at": 101.0, "zones": ["a", {"b": 1}],
            "consecutive_opens": 3, "quorum": null}"#;
        let snapshot = Snapshot::from_json(newer).unwrap();
        assert_eq!((snapshot.version, snapshot.state), (2, State::Open));
        assert_eq!((snapshot.failure_count, snapshot.consecutive_opens), (7, 3));
        assert_eq!(snapshot.open_until, seconds::at(160.5));
        let newer = br#"{"version": 2, "readable_from": 1, "state": "open", "saved_at": 101.0,
            "opened_at": 100.5, "open_until": 160.5, "reason": "hunch", "windows": [
            {"rule": "failure_rate", "calls": 9, "failures": 1, "slow_calls": 0, "sketch": [1]},
            {"rule": "failure_rate", "calls": 2, "failures": 1, "slow_calls": 0, "results": ".f"},
            "another"]}"#;
        let snapshot = Snapshot::from_json(newer).unwrap();
        assert_eq!((snapshot.state, snapshot.reason), (State::Open, None));
        assert_eq!(snapshot.open_until, seconds::at(160.5));
        let windows: Vec<u64> = snapshot.windows.iter().map(|window| window.calls).collect();
        assert_eq!(windows, [2], "those that are known");
        for unreadable in [
            &br#"{"version": 3, "readable_from": 2, "state": "open", "saved_at": 1}"#[..],
            br#"{"version": 3, "readable_from": 0, "state": "open", "saved_at": 1}"#,
            br#"{"version": 3, "state": "open", "saved_at": 1}"#,
            br#"{"version": 3, "readable_from": 1, "state": "ajar", "saved_at": 1}"#,
        ] {
            assert_eq!(Snapshot::from_json(unreadable), Err(SnapshotError::NewerVersion(3)));
        }
        let own = Snapshot::empty(SystemTime::now()).to_json().unwrap();
        assert!(own.starts_with(r#"{"version":1,"readable_from":1,"state":"closed","#), "{own}");
    }

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
