//! Whether a replica reaches its fleet.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant, SystemTime},
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
pub(super) struct ConnectionHealth {
    value: Mutex<FleetHealth>,
    logged: Mutex<Logged>,
    shard: u16,
    gauges: Arc<Gauges>,
}

/// What the gauges say of one fleet.
#[derive(Debug, Default)]
pub(super) struct Gauges(Mutex<BTreeMap<u16, Shard>>);

/// The fleets of this process: each gauge is about all of them.
static FLEETS: Mutex<Vec<Weak<Gauges>>> = Mutex::new(Vec::new());

/// How often the gauges are set although nothing has changed: a recorder may be new, or forget what
/// is not set. No more often: each of a thousand shards has a beat a second, and all of them are
/// looked at.
const RECORD_INTERVAL: Duration = Duration::from_millis(500);

/// When that was last so.
static RECORDED: Mutex<Option<Instant>> = Mutex::new(None);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shard {
    is_alone: bool,
    /// How many replicas are present in it.
    replicas: u64,
}

/// What was logged, so that a connection that comes and goes writes a few lines a minute.
#[derive(Debug, Default)]
struct Logged {
    /// The reasons that were logged within the last minute.
    reasons: Vec<(String, Instant)>,
    /// What the log says: joined, or not; `None` if nothing.
    is_joined: Option<bool>,
}

impl Logged {
    const MEMORY: Duration = Duration::from_secs(60);
    /// Each may differ from the last one, by a time in it for example.
    const MOST: usize = 8;

    /// Whether this is to be logged. Each attempt may fail for another reason.
    fn is_new(&mut self, reason: &str, now: Instant) -> bool {
        self.reasons.retain(|(_, at)| now.saturating_duration_since(*at) < Self::MEMORY);
        let is_known = self.reasons.iter().any(|(logged, _)| logged == reason);
        if is_known || self.reasons.len() >= Self::MOST {
            return false;
        }
        self.reasons.push((reason.to_owned(), now));
        self.is_joined = Some(false);
        true
    }

    /// Whether that the fleet is reached is to be logged: the log says that it is not, or nothing.
    fn is_join_new(&mut self) -> bool {
        self.is_joined.replace(true) != Some(true)
    }
}

impl Gauges {
    pub(super) fn new() -> Arc<Self> {
        let new = Arc::new(Self::default());
        std_lock(&FLEETS).push(Arc::downgrade(&new));
        new
    }

    fn set(&self, shard: u16, change: impl FnOnce(&mut Shard)) {
        let mut shards = std_lock(&self.0);
        let shard = shards.entry(shard).or_default();
        let before = *shard;
        change(shard);
        let has_changed = *shard != before;
        drop(shards);
        if has_changed || Self::is_due(Instant::now()) {
            Self::record();
        }
    }

    fn is_due(now: Instant) -> bool {
        let mut recorded = std_lock(&RECORDED);
        let is_due = recorded.is_none_or(|at| now.saturating_duration_since(at) >= RECORD_INTERVAL);
        if is_due {
            *recorded = Some(now);
        }
        is_due
    }

    fn is_joined(&self) -> bool {
        std_lock(&self.0).values().all(|shard| !shard.is_alone)
    }

    /// A replica is in the shards of its breakers.
    fn replicas(&self) -> u64 {
        std_lock(&self.0).values().map(|shard| shard.replicas).max().unwrap_or(0)
    }

    fn record() {
        let mut fleets = std_lock(&FLEETS);
        fleets.retain(|fleet| fleet.strong_count() > 0);
        let living: Vec<_> = fleets.iter().filter_map(Weak::upgrade).collect();
        // A recorder is code of the user.
        drop(fleets);
        metrics::fleet_joined(living.iter().all(|fleet| fleet.is_joined()));
        metrics::fleet_replicas(living.iter().map(|fleet| fleet.replicas()).max().unwrap_or(0));
    }
}

/// A fleet that is gone is neither joined nor alone.
impl Drop for Gauges {
    fn drop(&mut self) {
        Self::record();
    }
}

impl ConnectionHealth {
    pub(super) fn new(shard: u16, gauges: Arc<Gauges>) -> Self {
        let reason = "not connected yet".to_owned();
        let value = Mutex::new(FleetHealth::Alone { since: SystemTime::now(), reason });
        Self { value, logged: Mutex::default(), shard, gauges }
    }

    pub(super) fn get(&self) -> FleetHealth {
        std_lock(&self.value).clone()
    }

    pub(super) fn set_replicas(&self, count: u64) {
        self.gauges.set(self.shard, |shard| shard.replicas = count);
    }

    pub(super) fn set_joined(&self) {
        let before = std::mem::replace(&mut *std_lock(&self.value), FleetHealth::Joined);
        self.gauges.set(self.shard, |shard| shard.is_alone = false);
        if before != FleetHealth::Joined && std_lock(&self.logged).is_join_new() {
            log(|| {
                tracing::info!(
                    target: "tower_breaker",
                    shard = self.shard,
                    "joined the fleet: its Redis server is reached, and circuit breakers are \
                     shared",
                );
            });
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
        self.gauges.set(self.shard, |shard| (shard.is_alone, shard.replicas) = (true, 0));
        let mut logged = std_lock(&self.logged);
        // One that was not logged, because others were within the minute, is logged after it.
        let is_unsaid = before != alone || logged.is_joined == Some(true);
        let is_new = is_unsaid && logged.is_new(why, Instant::now());
        drop(logged);
        if is_new {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    shard = self.shard,
                    reason = why,
                    "fleet not reached: this replica decides alone and retries; check the fleet's \
                     Redis server and the network, unless the reason says otherwise",
                );
            });
        }
    }
}

#[cfg(test)]
mod log_tests;

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use std::collections::HashMap;

    use ::metrics::{
        Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;
    use crate::fleet::tests::support::wait::eventually;

    #[derive(Default)]
    struct Recorded(Arc<Mutex<HashMap<String, f64>>>);

    struct Value(String, Arc<Mutex<HashMap<String, f64>>>);

    impl GaugeFn for Value {
        fn increment(&self, _: f64) {}

        fn decrement(&self, _: f64) {}

        fn set(&self, value: f64) {
            std_lock(&self.1).insert(self.0.clone(), value);
        }
    }

    impl Recorder for Recorded {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(Value(key.name().to_owned(), Arc::clone(&self.0))))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn the_gauges_are_about_all_fleets_of_the_process_and_end_with_them() {
        let recorder = Recorded::default();
        let values = Arc::clone(&recorder.0);
        let joined = || std_lock(&values).get("circuit_breaker_fleet_joined").copied();
        let replicas = || std_lock(&values).get("circuit_breaker_fleet_replicas").copied();
        let (first, second) = (Gauges::new(), Gauges::new());
        let (first, second) = (ConnectionHealth::new(0, first), ConnectionHealth::new(0, second));
        // Fleets of other tests do not count.
        let these = [&first.gauges, &second.gauges].map(Arc::downgrade);
        std_lock(&FLEETS).retain(|fleet| these.iter().any(|one| one.ptr_eq(fleet)));
        ::metrics::with_local_recorder(&recorder, || {
            first.set_alone("a test");
            second.set_joined();
            second.set_replicas(3);
            assert_eq!((joined(), replicas()), (Some(0.0), Some(3.0)), "one is alone");
            first.set_joined();
            first.set_replicas(2);
            assert_eq!((joined(), replicas()), (Some(1.0), Some(3.0)));
            // A recorder that comes later gets them with one of the next beats.
            std_lock(&values).clear();
            eventually("they are recorded again", || {
                second.set_replicas(3);
                (joined(), replicas()) == (Some(1.0), Some(3.0))
            });
            second.set_alone("a test");
            assert_eq!((joined(), replicas()), (Some(0.0), Some(2.0)));
            drop(second);
            assert_eq!((joined(), replicas()), (Some(1.0), Some(2.0)), "the other one");
        });
    }
}
