use std::{fmt, sync::Arc, time::Duration};

use smol_str::SmolStr;

use super::{
    Breaker,
    events::{Listener, Shared, Teller},
};
use crate::{
    breaker::pool,
    clock::{Clock, TimeSource},
    config::{Backoff, Config, ConfigError, Faults, RampUp, Trip},
    event::Event,
    persist::PersistSettings,
    snapshot::Snapshot,
    store::StateStore,
};

/// What a breaker is going to be, and what is built around it.
///
/// [`Breaker::builder`] begins one that builds a [`Breaker`] alone, and
/// [`CircuitBreakerLayer::builder`](crate::CircuitBreakerLayer::builder) one that builds a layer.
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<T = ()> {
    target: T,
    name: SmolStr,
    config: Arc<Config>,
    /// Whether the rules are still the default's, which the first rule replaces.
    default_rules: bool,
    clock: TimeSource,
    listeners: Vec<Listener>,
    snapshot: Option<Snapshot>,
    store: Option<Arc<dyn StateStore>>,
    persist: PersistSettings,
}

const LONGEST_NAME: usize = 512;

impl<T> Builder<T> {
    pub(crate) fn new(name: &str, target: T) -> Self {
        Self {
            target,
            name: name.into(),
            config: Arc::default(),
            default_rules: true,
            clock: TimeSource::default(),
            listeners: Vec::new(),
            snapshot: None,
            store: None,
            persist: PersistSettings::default(),
        }
    }

    /// Takes all settings from a [`Config`]. What is set after this changes it. Many breakers
    /// with the same settings share the memory of an `Arc<Config>`.
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self.default_rules = true;
        self
    }

    /// Adds a rule that opens the circuit; any one of several does. The first replaces the rules
    /// of the default, or of the configuration. Default: five consecutive failures.
    pub fn trip_on(mut self, trip: Trip) -> Self {
        if std::mem::take(&mut self.default_rules) {
            self.own_config().trip_on.clear();
        }
        self.own_config().trip_on.push(trip);
        self
    }

    /// How long the circuit stays open before it lets a probe through. Default: 60 s.
    pub fn recovery_timeout(mut self, timeout: Duration) -> Self {
        self.own_config().recovery_timeout = timeout;
        self
    }

    /// Lengthens the open time from one opening to the next. Default: none.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.own_config().backoff = Some(backoff);
        self
    }

    /// How many probes must succeed to close the circuit. Default: 1.
    pub fn success_threshold(mut self, successes: u32) -> Self {
        self.own_config().success_threshold = successes;
        self
    }

    /// How many probes may be out at once. Default: as many as must succeed.
    pub fn half_open_max_calls(mut self, calls: u32) -> Self {
        self.own_config().half_open_max_calls = Some(calls);
        self
    }

    /// Decides by the share of failed or slow probes, once as many results are in as the success
    /// threshold says. Default: none; the first failed probe opens the circuit again.
    pub fn half_open_failure_rate(mut self, rate: f64) -> Self {
        self.own_config().half_open_failure_rate = Some(rate);
        self
    }

    /// How long the oldest probe may be out before the circuit opens again; `None` for ever.
    /// Default: 60 s.
    pub fn half_open_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.own_config().half_open_timeout = timeout.into();
        self
    }

    /// Lets the admitted share of calls grow after the circuit has closed. Default: none.
    pub fn ramp_up(mut self, ramp_up: RampUp) -> Self {
        self.own_config().ramp_up = Some(ramp_up);
        self
    }

    /// Takes the time from this clock. Default: [the machine's](crate::clock::SystemClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = TimeSource::Custom(Arc::new(clock));
        self
    }

    /// Goes on from a snapshot that you kept yourself. With a store you need not: what it holds
    /// is restored on its own.
    pub fn restore(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Keeps the state in this store. Default: none, the state is in memory only.
    ///
    /// [`build`](Builder::build) reads the breaker's snapshot, so that the first call meets the
    /// restored state; it waits for the store for a second at most. Transitions are on their
    /// way to the store at once, unless they are
    /// [told to wait](Self::transition_flush_interval), and nothing that goes wrong with it
    /// reaches a call. When the last handle of the breaker is dropped, that drop waits until its
    /// last state is saved, a second at most, and not at all for a store that does not answer.
    pub fn store(mut self, store: impl StateStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// How long changes of the counts are gathered before they are saved: without a
    /// [`flush`](Breaker::flush), a crash loses no more than what was counted in this time.
    /// Default: 1 s.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.persist.flush_interval = interval;
        self
    }

    /// How long a transition may wait for others on the same store, to be saved together with
    /// them; no longer than the [`flush_interval`](Self::flush_interval). What a crash in this
    /// time forgets is the transition itself, unless it was [flushed](Breaker::flush).
    /// Default: 0, it is on its way at once, and durable within 50 ms in a store that is quick
    /// enough. A longer time is for a store to which each write is dear.
    pub fn transition_flush_interval(mut self, interval: Duration) -> Self {
        self.persist.transition_flush_interval = interval;
        self
    }

    /// Calls this at each event, in order, on the thread of the call that caused it. It should be
    /// quick. It may ask the breaker, which is not locked meanwhile.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// The settings, no longer shared with anybody.
    fn own_config(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// The same breaker with something else around it.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> Builder<U> {
        Builder {
            target: map(self.target),
            name: self.name,
            config: self.config,
            default_rules: self.default_rules,
            clock: self.clock,
            listeners: self.listeners,
            snapshot: self.snapshot,
            store: self.store,
            persist: self.persist,
        }
    }

    pub(crate) fn finish(self) -> Result<(Breaker, T), ConfigError> {
        let mut faults = Faults::default();
        if !(1..=LONGEST_NAME).contains(&self.name.len()) {
            let message =
                format!("has {} bytes, must have from 1 to {LONGEST_NAME}", self.name.len());
            faults.add("name", message);
        }
        self.config.check("", &mut faults);
        faults.into_result(())?;

        let cell = pool::take();
        cell.lease(self.config, self.clock);
        let teller = Arc::new(Teller::new(self.name, cell, self.listeners));
        cell.set_observer(Arc::clone(&teller) as _);
        if let Some(snapshot) = &self.snapshot {
            cell.restore(&*teller, snapshot);
        }
        let mut shared = Shared::new(cell, teller);
        if let Some(store) = self.store {
            shared.attach(store, &self.persist);
        }
        let shared = Arc::new(shared);
        Ok((Breaker { cell, shared }, self.target))
    }
}

impl Builder {
    /// Builds the breaker.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that lists everything that is wrong with the name and the settings.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        Ok(self.finish()?.0)
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
