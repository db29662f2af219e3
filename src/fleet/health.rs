//! Whether a replica reaches its fleet.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use crate::{metrics, sync::std_lock};

/// Whether a breaker reaches its fleet. Calls are never affected by it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetHealth {
    /// The breaker is not shared.
    NotShared,
    /// The fleet is reached: its state is this replica's, too.
    Joined,
    /// The fleet is not reached. The replica decides alone, and keeps trying.
    #[non_exhaustive]
    Alone {
        /// When it began, by the wall clock.
        since: SystemTime,
        /// Why the last attempt failed.
        reason: String,
    },
}

impl FleetHealth {
    /// Whether the replica decides alone although it is shared.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Alone { .. })
    }
}

impl fmt::Display for FleetHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotShared => f.write_str("not shared"),
            Self::Joined => f.write_str("joined"),
            Self::Alone { reason, .. } => write!(f, "alone: {reason}"),
        }
    }
}

/// The health of this process's connection to a fleet.
#[derive(Debug)]
pub(super) struct Health {
    value: Mutex<FleetHealth>,
    shard: u16,
    alone: Arc<AloneShards>,
}

/// The shards of a fleet that are not reached: one gauge is about all of them.
#[derive(Debug, Default)]
pub(super) struct AloneShards(Mutex<BTreeSet<u16>>);

impl AloneShards {
    fn set(&self, shard: u16, is_alone: bool) {
        let mut alone = std_lock(&self.0);
        if is_alone {
            alone.insert(shard);
        } else {
            alone.remove(&shard);
        }
        metrics::fleet_joined(alone.is_empty());
    }
}

impl Health {
    pub(super) fn new(shard: u16, alone: Arc<AloneShards>) -> Self {
        let reason = "not connected yet".to_owned();
        let value = Mutex::new(FleetHealth::Alone { since: SystemTime::now(), reason });
        Self { value, shard, alone }
    }

    pub(super) fn get(&self) -> FleetHealth {
        std_lock(&self.value).clone()
    }

    pub(super) fn set_joined(&self) {
        let before = std::mem::replace(&mut *std_lock(&self.value), FleetHealth::Joined);
        self.alone.set(self.shard, false);
        if before != FleetHealth::Joined {
            tracing::info!(target: "tower_breaker", "joined the fleet of circuit breakers");
        }
    }

    pub(super) fn set_alone(&self, why: &str) {
        let mut health = std_lock(&self.value);
        let since = match &*health {
            FleetHealth::Alone { since, .. } => *since,
            _ => SystemTime::now(),
        };
        let alone = FleetHealth::Alone { since, reason: why.to_owned() };
        let before = std::mem::replace(&mut *health, alone.clone());
        drop(health);
        self.alone.set(self.shard, true);
        if before != alone {
            tracing::warn!(
                target: "tower_breaker",
                reason = why,
                "fleet of circuit breakers not reached: this replica decides alone and keeps \
                 trying: {why}",
            );
        }
    }
}
