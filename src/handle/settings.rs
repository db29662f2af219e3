//! The settings of a breaker, as methods of its builders.

/// Defines the settings of a breaker as methods of a builder.
///
/// Two builders have them: [`BreakerBuilder`](super::BreakerBuilder), and the builder of a layer,
/// which contains a `BreakerBuilder`. The argument is the path from `self` to it: nothing, or
/// `.breaker`.
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
        /// A thread for each store does all this. If it cannot be started, the health says so, and
        /// the start is tried again, though not by calls that succeed. A process that is forked
        /// later has no such thread: there, the health is degraded and nothing is saved, and calls
        /// of a breaker that another thread had locked at the moment of the fork hang. Build
        /// breakers after daemonizing.
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

        /// How long a stored snapshot is valid. Default: 24 h for an open circuit and for a state
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
