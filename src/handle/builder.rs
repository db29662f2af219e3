//! The builder of a breaker.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use smol_str::SmolStr;

use super::{
    Breaker,
    events::{EventDispatcher, Listener, Listeners, Shared},
    meter::Meter,
    source,
};
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
#[cfg(feature = "metrics")]
use crate::metrics::Counted;
#[cfg(all(feature = "keyed", feature = "metrics"))]
use crate::metrics::Labels;
use crate::{
    breaker::{open_slot::OpenLimit, pool},
    clock::TimeSource,
    config::{Config, ConfigError, Faults, Trip, check_name},
    event::Event,
    snapshot::Snapshot,
    write_behind::{KnownStore, Notices, WriteBehindConfig},
};

/// Defines the settings of a breaker as methods of a builder.
///
/// Two builders have them: [`BreakerBuilder`], and the builder of a layer, which contains a
/// `BreakerBuilder`. The argument is the path from `self` to it: nothing, or `.breaker`.
macro_rules! breaker_settings {
    ($($breaker:tt)*) => {
        /// Replaces all settings by those of a [`Config`](crate::Config). Methods called after
        /// this one change single settings. Breakers built from the same `Arc<Config>` share its
        /// memory.
        pub fn config(mut self, config: impl Into<std::sync::Arc<$crate::config::Config>>) -> Self {
            self $($breaker)*.set_config(config.into());
            self
        }

        /// Adds a rule that opens the circuit. Any one rule suffices to open it. The first call
        /// replaces the rules of the default, or of the [`config`](Self::config). Default: five
        /// consecutive failures.
        pub fn trip_on(mut self, trip: $crate::config::Trip) -> Self {
            self $($breaker)*.add_rule(trip);
            self
        }

        /// How long the circuit stays open before it admits a probe. Default: 60 s.
        pub fn recovery_timeout(mut self, timeout: std::time::Duration) -> Self {
            self $($breaker)*.config_mut().recovery_timeout = timeout;
            self
        }

        /// Lengthens the open time from one opening to the next. Default: none.
        pub fn backoff(mut self, backoff: $crate::config::Backoff) -> Self {
            self $($breaker)*.config_mut().backoff = Some(backoff);
            self
        }

        /// The number of successful probes that closes the circuit. Default: 1.
        pub fn success_threshold(mut self, successes: u32) -> Self {
            self $($breaker)*.config_mut().success_threshold = successes;
            self
        }

        /// The maximum number of concurrent probes. Default: the
        /// [`success_threshold`](Self::success_threshold).
        pub fn half_open_max_calls(mut self, calls: u32) -> Self {
            self $($breaker)*.config_mut().half_open_max_calls = Some(calls);
            self
        }

        /// Decides by the rate of failed or slow probes, once
        /// [`success_threshold`](Self::success_threshold) of them have a result. Default: none;
        /// the first failed probe reopens the circuit.
        pub fn half_open_failure_rate(mut self, rate: f64) -> Self {
            self $($breaker)*.config_mut().half_open_failure_rate = Some(rate);
            self
        }

        /// How long the oldest probe may take before the circuit reopens, and how long all probes
        /// together may take that end without a result; `None` for no limit. Raise it if healthy
        /// calls take longer. Default: 60 s.
        pub fn half_open_timeout(
            mut self,
            timeout: impl Into<Option<std::time::Duration>>,
        ) -> Self {
            self $($breaker)*.config_mut().half_open_timeout = timeout.into();
            self
        }

        /// Counts a call as a failure that is dropped after this time without an outcome; `None`
        /// for never. See [abandoned calls](crate::Permit#abandoned-calls). Default: never.
        pub fn abandoned_after(mut self, time: impl Into<Option<std::time::Duration>>) -> Self {
            self $($breaker)*.config_mut().abandoned_after = time.into();
            self
        }

        /// Increases the admitted share of calls gradually after the circuit has closed. Default:
        /// none, all calls are admitted at once.
        pub fn ramp_up(mut self, ramp_up: $crate::config::RampUp) -> Self {
            self $($breaker)*.config_mut().ramp_up = Some(ramp_up);
            self
        }

        /// Reads the time from this clock. Default: the
        /// [system's](crate::clock::SystemClock).
        pub fn clock(mut self, clock: impl $crate::clock::Clock) -> Self {
            self $($breaker)*.clock =
                $crate::clock::TimeSource::custom(clock);
            self
        }

        /// Starts from a snapshot that you have kept yourself. A breaker with a
        /// [`store`](Self::store) restores its snapshot without this; if a breaker of its name
        /// lives on the store, it begins with the state of that one instead.
        pub fn restore(mut self, snapshot: $crate::snapshot::Snapshot) -> Self {
            self $($breaker)*.snapshot = Some(snapshot);
            self
        }

        /// Keeps the state in this store. Default: none, the state is in memory only.
        ///
        /// [`build`](Self::build) loads the breaker's snapshot and waits at most a second for it,
        /// so that the first call meets the restored state. Transitions are written at once,
        /// unless [`transition_flush_interval`](Self::transition_flush_interval) delays them. An
        /// error or a delay of the store never affects a call.
        ///
        /// Dropping the last handle of the breaker waits at most a second until the final state is
        /// saved, if it is not saved already, and does not wait for a store that has stopped
        /// responding. Breakers on one store that are dropped one after the other wait no longer
        /// together. [`Breaker::close`](crate::Breaker::close) does the same in async code, and
        /// [`flush_all`](crate::flush_all) saves breakers that are never dropped.
        ///
        /// A thread for each store does all this. If it cannot be started, the health says so and
        /// the start is tried again with each use. A process that is forked later has no such
        /// thread: there, the health is degraded and nothing is saved. Build breakers after
        /// daemonizing.
        ///
        /// One name on one store is one state, that of the youngest breaker. A second breaker of a
        /// name begins with the current state of the first and is saved from then on. The first
        /// logs a warning, continues in memory, and saves neither its state nor its history; a
        /// flush of it fails with [`Superseded`](crate::store::FlushError::Superseded). When the
        /// second is dropped, the first takes over its state, unless a call or an operator has
        /// changed the first one's state later, and is saved again. To share one breaker, clone
        /// the handle, or use a [`Registry`](crate::Registry).
        pub fn store(mut self, store: impl $crate::store::StateStore) -> Self {
            self $($breaker)*.store = Some($crate::write_behind::KnownStore::new(store));
            self
        }

        /// How long a stored snapshot is of use. Default: 24 h for an open circuit and for a state
        /// that is set by hand for a time, 1 h for others; always for other states set by hand.
        pub fn snapshot_ttl(mut self, ttl: $crate::config::SnapshotTtl) -> Self {
            self $($breaker)*.config_mut().snapshot_ttl = ttl;
            self
        }

        /// How many days the store keeps the [history](crate::Breaker::history) of transitions.
        /// Default: 30. From 1 to 365.
        pub fn history_retention_days(mut self, days: u32) -> Self {
            self $($breaker)*.config_mut().history_retention_days = days;
            self
        }

        /// How long changes of the counts are collected before they are saved. A crash loses at
        /// most the counts of this interval, unless they were
        /// [flushed](crate::Breaker::flush). Default: 1 s.
        pub fn flush_interval(mut self, interval: std::time::Duration) -> Self {
            self $($breaker)*.config_mut().flush_interval = interval;
            self
        }

        /// How long a transition may wait to be saved in one batch with others on the same store;
        /// capped at the [`flush_interval`](Self::flush_interval). A crash within this time loses
        /// the transition, unless it was [flushed](crate::Breaker::flush). Default: 0, which saves
        /// it at once; a fast store has it within 50 ms. Choose a longer interval for a store
        /// whose writes are expensive.
        pub fn transition_flush_interval(mut self, interval: std::time::Duration) -> Self {
            self $($breaker)*.config_mut().transition_flush_interval = interval;
            self
        }

        /// Shares the breaker with other replicas of this service. Default: none, every replica
        /// decides alone. See [`fleet`](crate::fleet).
        ///
        /// [`build`](Self::build) waits at most a second for the fleet's state, so that the first
        /// call meets it. With [`FleetCounts::Shared`](crate::fleet::FleetCounts::Shared), all
        /// rules must be rates over time windows.
        #[cfg(feature = "redis")]
        #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
        pub fn shared(mut self, fleet: $crate::fleet::RedisFleet) -> Self {
            self $($breaker)*.fleet = Some(fleet);
            self
        }

        /// What is counted of the calls, for the module `metrics` (feature `metrics`). Default:
        /// how they ended.
        pub fn call_metrics(mut self, call_metrics: $crate::config::CallMetrics) -> Self {
            self $($breaker)*.config_mut().call_metrics = call_metrics;
            self
        }

        /// Calls this function for each event, in order, on the thread of the call that caused it,
        /// or on a thread that all breakers share: see [`Event`](crate::Event). It must return
        /// quickly. It may use the breaker: no lock is held. A panic is logged at ERROR, and
        /// affects neither the call nor the other listeners.
        pub fn on_event<F>(mut self, listener: F) -> Self
        where
            F: Fn(&$crate::event::Event) + Send + Sync + 'static,
        {
            self $($breaker)*.add_listener(listener);
            self
        }
    };
}
pub(crate) use breaker_settings;

/// Builds a [`Breaker`]. Created by [`Breaker::builder`].
///
/// For a breaker with a layer,
/// [`CircuitBreakerLayer::builder`](crate::CircuitBreakerLayer::builder) has the same settings.
#[must_use = "a builder does nothing until `build` is called"]
pub struct BreakerBuilder {
    name: SmolStr,
    config: Arc<Config>,
    /// Whether the first rule still has to replace the default rules.
    default_rules: bool,
    pub(crate) clock: TimeSource,
    listeners: Vec<Listener>,
    /// Whether a listener writes the events to the log.
    listeners_do_log: bool,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) store: Option<KnownStore>,
    #[cfg(feature = "redis")]
    pub(crate) fleet: Option<RedisFleet>,
    write_behind: WriteBehindConfig,
    /// The group that the breaker is counted with, instead of by its name.
    #[cfg(feature = "metrics")]
    group: Option<Counted>,
    /// What bounds how many circuits of a group are open.
    pub(crate) open_limit: Option<Arc<dyn OpenLimit>>,
}

/// The default settings. Builders share them until they change them: most replace them.
static DEFAULTS: LazyLock<Arc<Config>> = LazyLock::new(Arc::default);

impl BreakerBuilder {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            config: Arc::clone(&DEFAULTS),
            default_rules: true,
            clock: TimeSource::default(),
            listeners: Vec::new(),
            listeners_do_log: false,
            snapshot: None,
            store: None,
            #[cfg(feature = "redis")]
            fleet: None,
            write_behind: WriteBehindConfig::default(),
            #[cfg(feature = "metrics")]
            group: None,
            open_limit: None,
        }
    }

    /// The build does not wait for the snapshot, which is restored later.
    pub(crate) fn restore_later(mut self) -> Self {
        self.write_behind.load_wait = std::time::Duration::ZERO;
        self
    }

    breaker_settings!();

    /// Counts the breaker with its group, or for its key in the group.
    #[cfg(feature = "keyed")]
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_mut, unused_variables, clippy::needless_pass_by_value)
    )]
    pub(crate) fn counted_with_group(mut self, group: &str, key: Option<SmolStr>) -> Self {
        #[cfg(feature = "metrics")]
        {
            self.group = Some(Counted::Breaker(Labels { name: group.into(), key }));
        }
        self
    }

    /// Counts for a group, without being one of its breakers.
    #[cfg(feature = "keyed")]
    #[cfg_attr(not(feature = "metrics"), expect(unused_mut))]
    pub(crate) fn counts_for_group(mut self) -> Self {
        #[cfg(feature = "metrics")]
        {
            self.group = Some(Counted::Calls(Labels::named(self.name.clone())));
        }
        self
    }

    pub(crate) fn set_config(&mut self, config: Arc<Config>) {
        self.config = config;
        self.default_rules = true;
    }

    /// The settings, no longer shared with other builders.
    pub(crate) fn config_mut(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    pub(crate) fn add_rule(&mut self, trip: Trip) {
        if std::mem::take(&mut self.default_rules) {
            self.config_mut().trip_on.clear();
        }
        self.config_mut().trip_on.push(trip);
    }

    pub(crate) fn add_listener<F>(&mut self, listener: F)
    where
        F: Fn(&Event) + Send + Sync + 'static,
    {
        self.listeners.push(Listener::new(listener));
    }

    /// Calls this function for each event of the circuit in place of the log: it writes the event
    /// to the log itself, at once or later.
    pub(crate) fn on_event_instead_of_log<F>(mut self, listener: F) -> Self
    where
        F: Fn(&Event) + Send + Sync + 'static,
    {
        self.listeners_do_log = true;
        self.add_listener(listener);
        self
    }

    /// Builds the breaker.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that lists every fault of the name and the settings.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        let mut faults = Faults::default();
        check_name(&self.name, "name", &mut faults);
        self.config.check("", &mut faults);
        #[cfg(feature = "redis")]
        if let Some(fleet) = &self.fleet {
            fleet.counts().check(&self.config, &mut faults);
        }
        faults.into_result(())?;
        Ok(self.build_valid())
    }

    /// Builds a breaker whose name and settings have been checked.
    pub(crate) fn build_valid(mut self) -> Breaker {
        #[cfg(feature = "redis")]
        let fleet = self.fleet.take();
        #[cfg_attr(not(feature = "redis"), expect(unused_mut))]
        let mut shared = self.create(Notices::deliver);
        shared.begin_meter_if_read();
        #[cfg(feature = "redis")]
        if let Some(fleet) = &fleet {
            shared.join(fleet);
        }
        Breaker { cell: shared.cell, shared: Arc::new(shared) }
    }

    /// The same for a caller that holds a lock. It runs no code of users, neither a subscriber of
    /// the log nor a listener nor a method of the store, if the snapshot is
    /// [restored later](Self::restore_later) and events
    /// [go elsewhere](Self::on_event_instead_of_log). Once the lock is released,
    /// [`AfterBuild::run`] does the rest.
    pub(crate) fn build_under_lock(self) -> (Breaker, AfterBuild) {
        debug_assert!(self.snapshot.is_none(), "restoring a snapshot runs listeners");
        let mut notices = None;
        let shared = self.create(|those| notices = Some(those));
        let breaker = Breaker { cell: shared.cell, shared: Arc::new(shared) };
        (breaker.clone(), AfterBuild { breaker, notices })
    }

    fn create(self, take_notices: impl FnOnce(Notices)) -> Shared {
        let settings = source::save_settings(&self.config);
        let cell = pool::take();
        #[cfg(feature = "metrics")]
        let meter = Meter::new(self.config.call_metrics, self.group);
        #[cfg(not(feature = "metrics"))]
        let meter = Meter;
        cell.lease(self.config, self.clock, meter.slot());
        if let Some(limit) = self.open_limit {
            cell.set_open_limit(limit);
        }
        let listeners = Listeners { all: self.listeners.into(), do_log: self.listeners_do_log };
        let dispatcher = Arc::new(EventDispatcher::new(self.name, cell, listeners, meter));
        cell.set_observer(Arc::clone(&dispatcher) as _);
        if let Some(snapshot) = &self.snapshot {
            cell.restore(&*dispatcher, snapshot);
        }
        let mut shared = Shared::new(cell, dispatcher);
        if let Some(store) = self.store {
            cell.await_restore();
            let is_new = self.snapshot.is_some();
            shared.attach(store, settings, &self.write_behind, is_new, take_notices);
        }
        shared
    }
}

/// What is left to do for a breaker that was built with a lock held.
#[must_use = "the rest of the build is missing until it runs"]
pub(crate) struct AfterBuild {
    breaker: Breaker,
    notices: Option<Notices>,
}

impl AfterBuild {
    /// To be called without a lock: this runs code of users.
    pub(crate) fn run(self) {
        self.breaker.shared.begin_meter_if_read();
        if let Some(notices) = self.notices {
            notices.deliver();
        }
    }
}

impl fmt::Debug for BreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
