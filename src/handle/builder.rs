//! The builder of a breaker.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use smol_str::SmolStr;

use super::{
    Breaker,
    events::{BreakerInner, EventDispatcher, Listeners},
    listener::Listener,
    meter::Meter,
    settings::breaker_settings,
    source,
};
#[cfg(feature = "keyed")]
use crate::breaker::nesting::key_mark::KeyMark;
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
#[cfg(feature = "metrics")]
use crate::metrics::Counted;
#[cfg(all(feature = "keyed", feature = "metrics"))]
use crate::metrics::Labels;
use crate::{
    breaker::{cell::CellSetup, notify::Observer, open_slot::OpenSlot, pool},
    clock::TimeSource,
    config::{Config, ConfigError, Faults, Trip, check_name},
    event::Event,
    snapshot::Snapshot,
    write_behind::{FirstSteps, KnownStore, WriteBehindConfig},
};

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
    pub(crate) open_slot: Option<OpenSlot>,
    /// The key in the group, for calls that began without the breaker.
    #[cfg(feature = "keyed")]
    pub(crate) key_mark: KeyMark,
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
            open_slot: None,
            #[cfg(feature = "keyed")]
            key_mark: KeyMark::default(),
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
            fleet.counts().check(&self.config, "", &mut faults);
        }
        faults.into_result(())?;
        Ok(self.build_valid())
    }

    /// Builds a breaker whose name and settings have been checked.
    pub(crate) fn build_valid(self) -> Breaker {
        let shared = self.create(FirstSteps::complete);
        shared.begin_meter_if_read();
        #[cfg(feature = "redis")]
        {
            shared.share();
            shared.wait_for_fleet();
        }
        Breaker { cell: shared.cell(), shared: Arc::new(shared) }
    }

    /// Builds it for a caller that holds a lock. It runs no user code, neither a subscriber of
    /// the log nor a listener nor a method of the store, if the snapshot is
    /// [restored later](Self::restore_later) and events
    /// [go elsewhere](Self::on_event_instead_of_log). Once the lock is released,
    /// [`AfterBuild::run`] does the rest, and [`Breaker::share`] after that; until then, the
    /// breaker may have yet to [take over](Breaker::take_over) the state of an older one of its
    /// name.
    pub(crate) fn build_under_lock(self) -> (Breaker, AfterBuild) {
        debug_assert!(self.snapshot.is_none(), "restoring a snapshot runs listeners");
        let mut steps = None;
        let shared = self.create(|those| steps = Some(those));
        let breaker = Breaker { cell: shared.cell(), shared: Arc::new(shared) };
        (breaker.clone(), AfterBuild { breaker, steps })
    }

    fn create(self, take_steps: impl FnOnce(FirstSteps)) -> BreakerInner {
        let settings = source::save_settings(&self.config);
        let cell = pool::take();
        #[cfg(feature = "metrics")]
        let meter = Meter::new(self.config.call_metrics, self.group);
        #[cfg(not(feature = "metrics"))]
        let meter = Meter;
        let slot = meter.slot();
        let listeners = Listeners { all: self.listeners.into(), do_log: self.listeners_do_log };
        let dispatcher = Arc::new(EventDispatcher::new(self.name, cell, listeners, meter));
        cell.assign(CellSetup {
            config: self.config,
            clock: self.clock,
            meter: slot,
            observer: Some(Arc::clone(&dispatcher) as Arc<dyn Observer>),
            awaits_restore: self.store.is_some(),
        });
        if let Some(slot) = self.open_slot {
            cell.set_open_slot(slot);
        }
        if let Some(snapshot) = &self.snapshot {
            cell.restore(&*dispatcher, snapshot);
        }
        let mut shared = BreakerInner::new(dispatcher);
        #[cfg(feature = "redis")]
        if let Some(fleet) = &self.fleet {
            shared.join(fleet);
        }
        #[cfg(feature = "keyed")]
        {
            shared.key_mark = self.key_mark;
        }
        if let Some(store) = self.store {
            let is_new = self.snapshot.is_some();
            shared.attach(store, settings, &self.write_behind, is_new, take_steps);
        }
        shared
    }
}

/// What is left to do for a breaker that was built with a lock held.
#[must_use = "the rest of the build is missing until it runs"]
pub(crate) struct AfterBuild {
    breaker: Breaker,
    steps: Option<FirstSteps>,
}

impl AfterBuild {
    /// To be called without a lock: this runs user code.
    pub(crate) fn run(self) {
        self.breaker.shared.begin_meter_if_read();
        if let Some(steps) = self.steps {
            steps.complete();
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
