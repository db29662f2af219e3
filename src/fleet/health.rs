//! Whether a replica reaches its fleet.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use crate::{
    metrics,
    sync::{log, std_lock},
};

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

/// Why a single breaker decides alone although the fleet is reached.
#[derive(Debug, Default)]
pub(super) struct BreakerHealth(Mutex<Option<FleetHealth>>);

impl BreakerHealth {
    /// `None` if the fleet's health is that of the breaker.
    pub(super) fn get(&self) -> Option<FleetHealth> {
        std_lock(&self.0).clone()
    }

    pub(super) fn set_left_out(&self, reason: String) {
        let mut health = std_lock(&self.0);
        let since = match &*health {
            Some(FleetHealth::Alone { since, .. }) => *since,
            _ => SystemTime::now(),
        };
        *health = Some(FleetHealth::Alone { since, reason });
    }

    pub(super) fn set_joined(&self) {
        *std_lock(&self.0) = None;
    }
}

/// The health of this process's connection to a fleet.
#[derive(Debug)]
pub(super) struct Health {
    value: Mutex<FleetHealth>,
    shard: u16,
    gauges: Arc<Gauges>,
}

/// The gauges of a fleet: each is about all of its shards.
#[derive(Debug, Default)]
pub(super) struct Gauges(Mutex<BTreeMap<u16, Shard>>);

#[derive(Debug, Default)]
struct Shard {
    is_alone: bool,
    /// How many replicas are present in it.
    replicas: u64,
}

impl Gauges {
    fn set_alone(&self, shard: u16, is_alone: bool) {
        let mut shards = std_lock(&self.0);
        shards.entry(shard).or_default().is_alone = is_alone;
        let all_joined = shards.values().all(|shard| !shard.is_alone);
        // A recorder is code of the user.
        drop(shards);
        metrics::fleet_joined(all_joined);
        if is_alone {
            self.set_replicas(shard, 0);
        }
    }

    fn set_replicas(&self, shard: u16, replicas: u64) {
        let mut shards = std_lock(&self.0);
        shards.entry(shard).or_default().replicas = replicas;
        // A replica is in the shards of its breakers.
        let most = shards.values().map(|shard| shard.replicas).max().unwrap_or(0);
        drop(shards);
        metrics::fleet_replicas(most);
    }
}

impl Health {
    pub(super) fn new(shard: u16, gauges: Arc<Gauges>) -> Self {
        let reason = "not connected yet".to_owned();
        let value = Mutex::new(FleetHealth::Alone { since: SystemTime::now(), reason });
        Self { value, shard, gauges }
    }

    pub(super) fn get(&self) -> FleetHealth {
        std_lock(&self.value).clone()
    }

    pub(super) fn set_replicas(&self, count: u64) {
        self.gauges.set_replicas(self.shard, count);
    }

    pub(super) fn set_joined(&self) {
        let before = std::mem::replace(&mut *std_lock(&self.value), FleetHealth::Joined);
        self.gauges.set_alone(self.shard, false);
        if before != FleetHealth::Joined {
            log(|| tracing::info!(target: "tower_breaker", "joined the fleet of circuit breakers"));
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
        self.gauges.set_alone(self.shard, true);
        if before != alone {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    reason = why,
                    "fleet of circuit breakers not reached: this replica decides alone and keeps \
                     trying: {why}",
                );
            });
        }
    }
}
