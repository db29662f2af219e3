//! What a group has counted.

/// The counts of a group: see [`KeyedBreakers::stats`](super::KeyedBreakers::stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStats {
    /// How many breakers the group has.
    pub breakers: u64,
    /// How many calls, since the group was built, were not recorded because it was full. Where a
    /// key has no breaker before its first failure, these are the failures.
    pub unrecorded_calls: u64,
    /// With a [`max_open_ratio`](super::KeyedBreakersBuilder::max_open_ratio); otherwise `None`.
    pub open_limit: Option<OpenLimitStats>,
}

/// What a [`max_open_ratio`](super::KeyedBreakersBuilder::max_open_ratio) has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenLimitStats {
    /// How many keys the group has seen in the last minute.
    pub keys_seen: u64,
    /// How many circuits are open, half-open or forced open, as of the last call of each: those
    /// that have opened, or whose keys the group has seen, in the last minute.
    pub open: u64,
    /// How often, since the group was built, a circuit would have opened and was not allowed to:
    /// one for each [`Event::WouldTrip`](crate::Event::WouldTrip).
    pub would_have_opened: u64,
}
