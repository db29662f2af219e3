//! Breakers by name, from shared settings.

mod builder;
mod by_name;
mod environment;
mod events;
#[cfg(feature = "keyed")]
mod keyed;
#[cfg(all(test, tower_breaker_loom))]
mod loom_tests;
mod maker;
mod once_breaker;
mod settings;

use std::{fmt, sync::Arc};

use tokio::sync::broadcast;

pub use self::builder::RegistryBuilder;
#[cfg(feature = "keyed")]
pub(crate) use self::keyed::{Found, Missing};
#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
pub use self::keyed::{KeyedBreakers, KeyedBreakersBuilder, KeyedStats, OpenLimitStats, WhenFull};
use self::{by_name::ByName, maker::Maker, settings::Settings};
use crate::{
    config::{ConfigError, ConfigFile, Faults, check_name},
    event::Event,
    handle::Breaker,
};

/// Breakers by name, from shared settings: one for each dependency, host or tenant.
///
/// A registry is cheap to clone, and all clones are the same registry. One name is one breaker:
/// asking for it again returns another handle of the same one.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::{CircuitBreakerLayer, Registry, config::ConfigFile};
///
/// let file = ConfigFile::from_json(r#"{
///     "defaults": {"recovery_timeout": "30s"},
///     "breakers": {"payments": {"recovery_timeout": "2m"}}
/// }"#)?;
/// let registry = Registry::builder().config_file(&file).build()?;
///
/// let payments = registry.get_or_create("payments")?;
/// assert_eq!(payments.config().recovery_timeout, Duration::from_secs(120));
/// let search = registry.get_or_create("search")?;
/// assert_eq!(search.config().recovery_timeout, Duration::from_secs(30));
/// let layer = CircuitBreakerLayer::new(payments);
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
///
/// # Reloading
///
/// [`reload`](Self::reload) takes a new [`ConfigFile`] while the program runs. Breakers keep their
/// states and their counts.
///
/// # With a store
///
/// Every breaker of the registry keeps its state in the registry's
/// [store](RegistryBuilder::store), under its own name. Many breakers that are created in one
/// go are restored together, which is fast.
#[derive(Clone)]
pub struct Registry {
    by_name: Arc<ByName<Maker>>,
}

impl Registry {
    /// Starts a registry.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    fn new(settings: Settings, maker: Maker) -> Self {
        Self { by_name: Arc::new(ByName::new(maker, settings)) }
    }

    /// Returns the breaker of this name, and creates it if there is none.
    ///
    /// Creating it waits at most a second for the registry's store, and another for its fleet, as
    /// [`BreakerBuilder::build`](crate::BreakerBuilder::build) does. So create breakers at the
    /// start, or on a thread that may block. Other callers of the same name wait for the same
    /// breaker; other names are not delayed. In async code:
    ///
    /// ```
    /// use tower_breaker::{Breaker, Registry};
    ///
    /// async fn breaker_of(registry: &Registry, name: &'static str) -> Breaker {
    ///     if let Some(breaker) = registry.get(name) {
    ///         return breaker;
    ///     }
    ///     let registry = registry.clone();
    ///     let create = move || registry.get_or_create(name).expect("a valid name");
    ///     tokio::task::spawn_blocking(create).await.expect("it does not panic")
    /// }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # let registry = Registry::builder().build().unwrap();
    /// # assert_eq!(runtime.block_on(breaker_of(&registry, "payments")).name(), "payments");
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name is empty or longer than 512 bytes.
    pub fn get_or_create(&self, name: impl AsRef<str>) -> Result<Breaker, ConfigError> {
        let name = name.as_ref();
        let mut faults = Faults::default();
        check_name(name, "name", &mut faults);
        faults.into_result(())?;
        Ok(self.by_name.get_or_create(name))
    }

    /// Returns the breaker of this name, if it was created.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Breaker> {
        self.by_name.get(name)
    }

    /// Returns all breakers that were created, in the order of their names.
    #[must_use]
    pub fn breakers(&self) -> Vec<Breaker> {
        self.by_name.all()
    }

    /// Removes a breaker from the registry and returns it. Its handles go on working. The next
    /// [`get_or_create`](Self::get_or_create) of this name creates another breaker. `None` if there
    /// is none, or while another thread makes it: then it stays.
    #[expect(clippy::must_use_candidate, reason = "removing is useful on its own")]
    pub fn remove(&self, name: &str) -> Option<Breaker> {
        self.by_name.remove(name)
    }

    /// [Resets](Breaker::reset) every breaker: it closes, and its counts are cleared.
    pub fn reset_all(&self) {
        self.breakers().iter().for_each(Breaker::reset);
    }

    /// Replaces the settings by those of a file, for existing breakers and for those created
    /// later. Existing ones keep their states and counts, as with [`Breaker::update`]. A breaker
    /// whose settings are the same in the old and in the new file is not touched.
    ///
    /// The store, the fleet and the clock of the registry stay, whatever the file names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the registry is [shared](RegistryBuilder::shared) and its fleet cannot
    /// count for one of the rules; then nothing changes. A file with another fault cannot be read,
    /// so it never gets here: without a fleet, this does not fail.
    pub fn reload(&self, file: &ConfigFile) -> Result<(), ConfigError> {
        let settings = Settings::from_file(file);
        settings.validate(&self.by_name.maker().environment)?;
        self.by_name.set_settings(settings);
        Ok(())
    }

    /// Subscribes to the events of all breakers, including those created later.
    ///
    /// A receiver that falls behind by more than 1,024 events loses the oldest ones, and its next
    /// `recv` returns [`Lagged`](broadcast::error::RecvError::Lagged).
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.by_name.maker().hub.subscribe()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("breakers", &self.breakers()).finish_non_exhaustive()
    }
}
