//! The builder of a group.

use std::{fmt, sync::Arc};

use super::{
    KeyedBreakers, key_labels::KeyLabels, max_open::MaxOpen, names::escape, source::Source,
    table::Table, when_full::WhenFull,
};
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
use crate::{
    clock::{Clock, TimeSource},
    config::{Config, ConfigError, Faults},
    event::Event,
    handle::Listener,
    registry::{environment::Environment, events::Hub},
    store::StateStore,
    write_behind::KnownStore,
};

/// With `:` and `%` escaped, so that the name of a hashed key has room behind it.
const LONGEST_GROUP: usize = 256;

/// Builds [`KeyedBreakers`]. Created by [`KeyedBreakers::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyedBreakersBuilder {
    group: String,
    config: Arc<Config>,
    environment: Environment,
    listeners: Vec<Listener>,
    max_breakers: usize,
    when_full: WhenFull,
    keys_in_metrics: usize,
    max_open_ratio: Option<f64>,
}

impl KeyedBreakersBuilder {
    pub(super) fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            config: Arc::default(),
            environment: Environment::default(),
            listeners: Vec::new(),
            max_breakers: 10_000,
            when_full: WhenFull::Pass,
            keys_in_metrics: 0,
            max_open_ratio: None,
        }
    }

    /// The settings of all breakers of the group. Default:
    /// [`Config::default`](crate::Config::default).
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// How many breakers the group has at most. Default: 10,000. At least 1.
    ///
    /// An open one takes up to 1,000 bytes of memory, and some 1,800 with a store, besides what the
    /// store itself keeps in memory. So 100,000 that are open at once take up to 100 MB, and some
    /// 180 MB with a store, or 320 MB with a [`MemoryStore`](crate::MemoryStore).
    pub fn max_breakers(mut self, max: usize) -> Self {
        self.max_breakers = max;
        self
    }

    /// What happens to the calls of a new key when the group is full. Default:
    /// [`WhenFull::Pass`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Reports [metrics](crate::metrics#keyed-breakers) by key, for at most this many different
    /// keys: those that get a breaker first. All others are reported as `other`, and so is an empty
    /// key. Default: 0, the breakers of the group are counted together.
    ///
    /// Each key gets its breaker with its first call then, because a key without a breaker has no
    /// counts of its own. A client that invents keys can take all of these series: then the keys
    /// that come later are `other`. A group that is built again in the same process begins anew,
    /// and may add as many.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn metrics_by_key(mut self, max_keys: usize) -> Self {
        self.keys_in_metrics = max_keys;
        self
    }

    /// Bounds the share of circuits that are open at once, so that a rule that is too sharp, or a
    /// cause on this side, cannot take every host away. Above 0, at most 1. Default: none.
    ///
    /// When a rule of a breaker is met, or so many health checks have failed in a row, its circuit
    /// opens only if fewer circuits of the group are open than
    ///
    /// ```text
    /// max(1, floor(max_open_ratio * keys))
    /// ```
    ///
    /// where `keys` are the keys that had a call within the last minute (a key counts for 60 to
    /// 65 s after its last call). Up to 4,096 keys are counted exactly; of more, the number is
    /// estimated, with a standard error of 2%. After a start, or after many keys have come and
    /// gone, the keys have yet to be seen, and the limit is low. Where a balancer asks for the
    /// load of an endpoint, this counts as a call of its key: it calls no endpoint whose circuit is
    /// open.
    ///
    /// Open circuits are those that are open, half-open or forced open: a circuit counts until it
    /// closes, is [disabled](crate::Breaker::disable), or is replaced, or until its key has had no
    /// call for a minute, so that a host that is gone keeps no other circuit from opening. If the
    /// key is called again, it counts again. Circuits that are opened by hand or restored from a
    /// store open in any case, and count. So does the shared breaker of [`WhenFull::Share`], as
    /// one. The limit decides when a circuit opens; it closes none.
    ///
    /// A circuit that is not allowed to open stays closed, its calls go on, and an
    /// [`Event::WouldTrip`] says so. It opens with the first call that meets a rule, or the first
    /// failed health check, while fewer are open. [`KeyedBreakers::stats`] counts how often this
    /// happened.
    ///
    /// Keys that a client invents are keys: they raise the limit, and as long as their circuits are
    /// open and they are called, they take places in which the circuit of another key could open.
    ///
    /// The keys are counted with each call, which takes some 10 ns.
    pub fn max_open_ratio(mut self, ratio: f64) -> Self {
        self.max_open_ratio = Some(ratio);
        self
    }

    /// Keeps the state of every breaker in this store. Default: none, the state is in memory only.
    ///
    /// [`build`](Self::build) restores the breakers that the store knows, those that are not closed
    /// first, and waits at most a second for that. Calls never wait for the store. What belongs to
    /// a breaker that was replaced is deleted from the store.
    pub fn store(mut self, store: impl StateStore) -> Self {
        self.environment.store = Some(KnownStore::new(store));
        self
    }

    /// Shares the breaker of every key with other replicas of this service, under its
    /// [name](KeyedBreakers#names). Default: none, every replica decides alone. See
    /// [`KeyedBreakers`](KeyedBreakers#with-a-fleet) and [`fleet`](crate::fleet).
    ///
    /// With [`FleetCounts::Shared`](crate::fleet::FleetCounts::Shared), all rules must be rates
    /// over time windows.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub fn shared(mut self, fleet: RedisFleet) -> Self {
        self.environment.fleet = Some(fleet);
        self
    }

    /// Reads the time from this clock. Default: the [system's](crate::clock::SystemClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.environment.clock = TimeSource::custom(clock);
        self
    }

    /// Calls this function for each event of each breaker of the group: see
    /// [`BreakerBuilder::on_event`](crate::BreakerBuilder::on_event).
    pub fn on_event<F>(mut self, listener: F) -> Self
    where
        F: Fn(&Event) + Send + Sync + 'static,
    {
        self.listeners.push(Listener::new(listener));
        self
    }

    /// Builds the group, with the breakers that the store knows.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that lists every fault of the name and the settings.
    pub fn build(self) -> Result<KeyedBreakers, ConfigError> {
        let mut faults = Faults::default();
        let length = escape(&self.group).len();
        if !(1..=LONGEST_GROUP).contains(&length) {
            let fault = format!(
                "has {length} bytes with `:` and `%` escaped, must have from 1 to {LONGEST_GROUP}"
            );
            faults.add("name", fault);
        }
        if self.max_breakers == 0 {
            faults.add("max_breakers", "0 is out of range; must be at least 1");
        }
        if let Some(ratio) = self.max_open_ratio
            && !(ratio > 0.0 && ratio <= 1.0)
        {
            let fault = format!("{ratio} is out of range; must be above 0 and at most 1");
            faults.add("max_open_ratio", fault);
        }
        self.environment.check(&self.config, "", &mut faults);
        faults.into_result(())?;
        let Self { group, config, environment, max_breakers, when_full, .. } = self;
        let max_open = self
            .max_open_ratio
            .map(|ratio| MaxOpen::new(ratio, environment.clock.clone(), max_breakers));
        let source = Source {
            environment,
            hub: Arc::new(Hub::new(self.listeners)),
            labels: KeyLabels::new(&group, self.keys_in_metrics),
            max_open: max_open.map(Arc::new),
        };
        let table = Table::new(&group, config, source, when_full, max_breakers);
        table.restore();
        Ok(KeyedBreakers { table })
    }
}

impl fmt::Debug for KeyedBreakersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakersBuilder")
            .field("group", &self.group)
            .field("config", &self.config)
            .field("max_breakers", &self.max_breakers)
            .field("when_full", &self.when_full)
            .field("max_open_ratio", &self.max_open_ratio)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
