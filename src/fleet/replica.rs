//! The replicas of a fleet, and what each of them says about a breaker.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    event::Reason,
    seconds::{moment, optional_moment},
    state::State,
};

/// A replica counts as present for so long after it was last heard of: it says so each second.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// How long a replica that is gone is listed.
pub(super) const KEPT: Duration = Duration::from_secs(600);

/// A replica of a fleet: a process, or another [`RedisFleet`](super::RedisFleet) in it.
///
/// As JSON, times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FleetReplica {
    /// Its [id](super::RedisFleetBuilder::replica_id).
    pub id: String,
    /// When the server last heard of it: each second while it reaches the server. By the wall clock
    /// of this process, from the time that has passed on the server's.
    #[serde(with = "moment")]
    pub last_seen: SystemTime,
    /// Whether that was within the last ten seconds. A replica that has ended is not listed any
    /// more; one that was killed or has lost its connection is, as not present, for ten minutes.
    pub is_present: bool,
}

/// What one replica says about a breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FleetView {
    /// The replica.
    pub replica: FleetReplica,
    /// What it says. `None` if it has not answered in time.
    pub view: Option<BreakerView>,
}

/// A breaker as one replica of its fleet sees it.
///
/// As JSON, times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakerView {
    /// The state that a call there would meet now.
    pub state: State,
    /// Since when. `None` if the breaker began with it.
    #[serde(default, with = "optional_moment", skip_serializing_if = "Option::is_none")]
    pub since: Option<SystemTime>,
    /// Until when, if it ends by itself.
    #[serde(default, with = "optional_moment", skip_serializing_if = "Option::is_none")]
    pub until: Option<SystemTime>,
    /// Why this replica went into the state: [`Reason::Fleet`] if it took it over. `None` if the
    /// breaker began with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether the state is this replica's own and not that of the fleet: it has tripped, and its
    /// vote does not suffice, or it [decides alone](super::FleetHealth::Alone) about this breaker.
    pub is_own: bool,
    /// Its failures since the last success.
    pub consecutive_failures: u32,
    /// The calls in the window of its first rate rule; 0 without one.
    pub window_calls: u64,
    /// The failed or throttled ones of them.
    pub window_failures: u64,
    /// The slow ones of them.
    pub window_slow_calls: u64,
}

/// The fleet cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetError {
    /// The fleet is not reached, or not at the moment.
    #[non_exhaustive]
    NotReached {
        /// Why.
        reason: String,
    },
}

impl FleetError {
    pub(super) fn not_reached(reason: impl Into<String>) -> Self {
        Self::NotReached { reason: reason.into() }
    }
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReached { reason } => write!(f, "fleet not reached: {reason}"),
        }
    }
}

impl Error for FleetError {}
