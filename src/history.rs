//! The transitions of a breaker, as its store keeps them.

use std::{error::Error, fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::{Transition, is_zero};

/// A past transition, one of a breaker's [history](crate::Breaker::history).
///
/// As JSON it is one flat object: the fields of the [`Transition`], and `missed` unless it is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// What happened.
    #[serde(flatten)]
    pub transition: Transition,
    /// The number of transitions right before this one that the history does not hold, because
    /// they came faster than the store could write them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

impl HistoryEntry {
    /// An entry that no transition was dropped before.
    pub(crate) const fn new(transition: Transition) -> Self {
        Self { transition, missed: 0 }
    }
}

/// The position at which a page of a history ends and the next one begins.
///
/// It is a number of nanoseconds since 1970. As text, in JSON too, it is a string of digits,
/// because not every JSON reader can hold such a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryCursor(u64);

impl HistoryCursor {
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    pub(crate) const fn id(self) -> u64 {
        self.0
    }
}

impl fmt::Display for HistoryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HistoryCursor {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl Serialize for HistoryCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HistoryCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Selects a page of a history.
///
/// ```
/// use tower_breaker::history::HistoryQuery;
///
/// let newest = HistoryQuery::newest(20);
/// assert_eq!(HistoryQuery::default(), HistoryQuery::newest(100));
/// # let _ = newest;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HistoryQuery {
    /// Only entries older than this. Default: from the newest.
    pub before: Option<HistoryCursor>,
    /// The maximum number of entries: 1 to 1,000; other values are clamped. Default: 100.
    pub limit: usize,
}

impl HistoryQuery {
    const LARGEST: usize = 1000;

    /// The newest entries, at most `limit`.
    #[must_use]
    pub const fn newest(limit: usize) -> Self {
        Self { before: None, limit }
    }

    /// The entries after a page: see [`HistoryPage::next`].
    #[must_use]
    pub const fn before(mut self, cursor: HistoryCursor) -> Self {
        self.before = Some(cursor);
        self
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, Self::LARGEST)
    }
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self::newest(100)
    }
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The entries, the newest first.
    pub entries: Vec<HistoryEntry>,
    /// The cursor of the next, older page; `None` on the last one.
    pub next: Option<HistoryCursor>,
    /// The number of entries in this page that cannot be read: damaged, or written by a newer
    /// version of this crate.
    pub unreadable: usize,
}

/// Why a history cannot be read. The breaker itself is not affected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryError {
    /// The store failed, or does not answer; or the breaker is no longer tied to it.
    #[non_exhaustive]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl HistoryError {
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { reason } => write!(f, "history not available: {reason}"),
        }
    }
}

impl Error for HistoryError {}
