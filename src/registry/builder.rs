//! The builder of a registry.

use std::{fmt, sync::Arc};

use super::{Registry, environment::Environment, events::Hub, maker::Maker, settings::Settings};
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
use crate::{
    clock::{Clock, TimeSource},
    config::{Config, ConfigError, ConfigFile},
    event::Event,
    handle::Listener,
    store::StateStore,
    write_behind::KnownStore,
};

/// Builds a [`Registry`]. Created by [`Registry::builder`].
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Default)]
pub struct RegistryBuilder {
    settings: Settings,
    environment: Environment,
    listeners: Vec<Listener>,
}

impl RegistryBuilder {
    /// The settings of every breaker that has none of its own. Default:
    /// [`Config::default`](crate::Config::default).
    pub fn defaults(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.settings.defaults = config.into();
        self
    }

    /// The settings of the breaker of this name. They replace the defaults as a whole; a
    /// [`ConfigFile`] merges them field by field.
    pub fn breaker(mut self, name: impl AsRef<str>, config: impl Into<Arc<Config>>) -> Self {
        self.settings.breakers.insert(name.as_ref().into(), config.into());
        self
    }

    /// Replaces all settings by those of a file. The breakers that it lists are not created
    /// until they are asked for. Its `store` is not opened: pass it to [`store`](Self::store).
    ///
    /// ```
    /// use tower_breaker::{Registry, config::ConfigFile};
    ///
    /// let file = ConfigFile::from_json(r#"{"defaults": {"recovery_timeout": "30s"}}"#)?;
    /// let mut registry = Registry::builder().config_file(&file);
    /// if let Some(store) = file.open_store()? {
    ///     registry = registry.store(store);
    /// }
    /// let registry = registry.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn config_file(mut self, file: &ConfigFile) -> Self {
        self.settings = Settings::from_file(file);
        self
    }

    /// Keeps the state of every breaker in this store, under its own name. Default: none, the
    /// state is in memory only.
    pub fn store(mut self, store: impl StateStore) -> Self {
        self.environment.store = Some(KnownStore::new(store));
        self
    }

    /// Shares every breaker with other replicas of this service, under its own name. Default: none,
    /// every replica decides alone. See [`fleet`](crate::fleet).
    ///
    /// [`get_or_create`](Registry::get_or_create) waits at most another second for the fleet's
    /// state, so that the first call meets it. With
    /// [`FleetCounts::Shared`](crate::fleet::FleetCounts::Shared), all rules of all breakers must
    /// be rates over time windows.
    ///
    /// ```no_run
    /// use tower_breaker::{Registry, fleet::RedisFleet};
    ///
    /// let fleet = RedisFleet::open("redis://redis.internal")?;
    /// let registry = Registry::builder().shared(fleet).build()?;
    /// let payments = registry.get_or_create("payments")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Calls this function for each event of each breaker: see
    /// [`BreakerBuilder::on_event`](crate::BreakerBuilder::on_event). Events of the build, such as
    /// a restored state, come once the registry has the breaker, so that the function can
    /// [get](Registry::get) it.
    pub fn on_event<F>(mut self, listener: F) -> Self
    where
        F: Fn(&Event) + Send + Sync + 'static,
    {
        self.listeners.push(Listener::new(listener));
        self
    }

    /// Builds the registry, which creates no breaker yet.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that lists every fault of all settings, with its path.
    pub fn build(self) -> Result<Registry, ConfigError> {
        self.settings.validate(&self.environment)?;
        let hub = Arc::new(Hub::new(self.listeners));
        Ok(Registry::new(self.settings, Maker { environment: self.environment, hub }))
    }
}

impl fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder")
            .field("settings", &self.settings)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
