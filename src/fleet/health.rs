//! Whether a replica reaches its fleet.

use std::{fmt, sync::Mutex, time::SystemTime};

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
pub(super) struct Health(Mutex<FleetHealth>);

impl Health {
    pub(super) fn new() -> Self {
        let reason = "not connected yet".to_owned();
        Self(Mutex::new(FleetHealth::Alone { since: SystemTime::now(), reason }))
    }

    pub(super) fn get(&self) -> FleetHealth {
        std_lock(&self.0).clone()
    }

    pub(super) fn set_joined(&self) {
        let before = std::mem::replace(&mut *std_lock(&self.0), FleetHealth::Joined);
        metrics::fleet_joined(true);
        if before != FleetHealth::Joined {
            tracing::info!(target: "tower_breaker", "joined the fleet of circuit breakers");
        }
    }

    pub(super) fn set_alone(&self, why: &str) {
        let mut health = std_lock(&self.0);
        let since = match &*health {
            FleetHealth::Alone { since, .. } => *since,
            _ => SystemTime::now(),
        };
        let alone = FleetHealth::Alone { since, reason: why.to_owned() };
        let before = std::mem::replace(&mut *health, alone.clone());
        drop(health);
        metrics::fleet_joined(false);
        metrics::fleet_replicas(0);
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
