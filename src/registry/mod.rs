//! Breakers by name, from shared settings.

mod builder;
mod events;
#[cfg(feature = "keyed")]
mod keyed;
mod settings;
mod slot;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use smol_str::SmolStr;
use tokio::sync::broadcast;

pub use self::builder::RegistryBuilder;
#[cfg(feature = "keyed")]
pub(crate) use self::keyed::{Found, Missing};
#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
pub use self::keyed::{KeyedBreakers, KeyedBreakersBuilder, KeyedStats, OpenLimitStats, WhenFull};
use self::{
    events::{Gate, Hub},
    settings::Settings,
    slot::Slot,
};
use crate::{
    clock::TimeSource,
    config::{ConfigError, ConfigFile, Faults, check_name},
    event::Event,
    handle::{AfterBuild, Breaker},
    write_behind::KnownStore,
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
    shared: Arc<Shared>,
}

struct Shared {
    settings: RwLock<Arc<Settings>>,
    /// A slot is inserted before its breaker is built, so that the map is never locked while a
    /// build waits for the store.
    slots: RwLock<BTreeMap<SmolStr, Arc<Slot>>>,
    store: Option<KnownStore>,
    clock: TimeSource,
    hub: Arc<Hub>,
}

impl Registry {
    /// Starts a registry.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    fn new(settings: Settings, store: Option<KnownStore>, clock: TimeSource, hub: Hub) -> Self {
        let shared = Shared {
            settings: RwLock::new(Arc::new(settings)),
            slots: RwLock::default(),
            store,
            clock,
            hub: Arc::new(hub),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the breaker of this name, and creates it if there is none.
    ///
    /// Creating it waits at most a second for the registry's store, as
    /// [`BreakerBuilder::build`](crate::BreakerBuilder::build) does. So create breakers at the
    /// start, or on a thread that may block. Other callers of the same name wait for the same
    /// breaker; other names are not delayed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name is empty or longer than 512 bytes.
    pub fn get_or_create(&self, name: impl AsRef<str>) -> Result<Breaker, ConfigError> {
        let name = name.as_ref();
        let mut faults = Faults::default();
        check_name(name, "name", &mut faults);
        faults.into_result(())?;
        let slot = self.slot(name);
        if let Some(breaker) = slot.get() {
            return Ok(breaker.clone());
        }
        let mut new = None;
        let breaker = slot.get_or_build(|| {
            let (breaker, rest) = self.build(name);
            new = Some(rest);
            breaker
        });
        // No lock is held from here on: what follows runs code of users, which may use the
        // registry, and ask for this very breaker.
        let Some(New { settings, gate, after_build }) = new else {
            slot.await_restore(breaker);
            return Ok(breaker.clone());
        };
        after_build.run();
        slot.await_restore(breaker);
        self.follow(breaker, settings);
        gate.open();
        Ok(breaker.clone())
    }

    /// Returns the breaker of this name, if it was created.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Breaker> {
        self.slots().get(name)?.get().cloned()
    }

    /// Returns all breakers that were created, in the order of their names.
    #[must_use]
    pub fn breakers(&self) -> Vec<Breaker> {
        self.slots().values().filter_map(|slot| slot.get().cloned()).collect()
    }

    /// Removes a breaker from the registry and returns it. Its handles go on working. The next
    /// [`get_or_create`](Self::get_or_create) of this name creates another breaker.
    #[expect(clippy::must_use_candidate, reason = "removing is of use by itself")]
    pub fn remove(&self, name: &str) -> Option<Breaker> {
        let slot = write(&self.shared.slots).remove(name)?;
        slot.breaker()
    }

    /// [Resets](Breaker::reset) every breaker: it closes, and its counts are cleared.
    pub fn reset_all(&self) {
        self.breakers().iter().for_each(Breaker::reset);
    }

    /// Replaces the settings by those of a file, for existing breakers and for those created
    /// later. Existing ones keep their states and counts, as with [`Breaker::update`]. A breaker
    /// whose settings are the same in the old and in the new file is not touched.
    ///
    /// The store and the clock of the registry stay, whatever the file names.
    ///
    /// A file with a fault cannot be read, so it never gets here.
    pub fn reload(&self, file: &ConfigFile) {
        let new = Arc::new(Settings::from_file(file));
        let old = std::mem::replace(&mut *write(&self.shared.settings), new);
        for breaker in self.breakers() {
            self.follow(&breaker, Arc::clone(&old));
        }
    }

    /// Subscribes to the events of all breakers, including those created later.
    ///
    /// A receiver that falls behind by more than 1,024 events loses the oldest ones, and its next
    /// `recv` returns [`Lagged`](broadcast::error::RecvError::Lagged).
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.hub.subscribe()
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        if let Some(slot) = self.slots().get(name) {
            return Arc::clone(slot);
        }
        Arc::clone(write(&self.shared.slots).entry(name.into()).or_default())
    }

    /// Builds a breaker that has yet to be restored. It runs no code of users, and waits for
    /// nothing: other callers of the name wait.
    fn build(&self, name: &str) -> (Breaker, New) {
        let settings = self.settings();
        let gate = Arc::new(Gate::new(Arc::clone(&self.shared.hub)));
        let listener = Arc::clone(&gate);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(settings.get(name)))
            .on_event_instead_of_log(move |event| listener.pass(event));
        builder.store.clone_from(&self.shared.store);
        builder.clock = self.shared.clock.clone();
        let (breaker, after_build) = builder.restore_later().build_under_lock();
        (breaker, New { settings, gate, after_build })
    }

    /// Applies the newest settings to a breaker that has those of `applied`.
    ///
    /// No lock is held: an update may reach a due transition, whose listeners may use the registry.
    /// Whichever thread applies settings looks afterwards for newer ones, so the newest are the
    /// last.
    fn follow(&self, breaker: &Breaker, mut applied: Arc<Settings>) {
        loop {
            let newest = self.settings();
            if Arc::ptr_eq(&newest, &applied) {
                return;
            }
            let config = newest.get(breaker.name());
            if **config != **applied.get(breaker.name()) {
                breaker.apply(Arc::clone(config));
            }
            applied = newest;
        }
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.shared.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn slots(&self) -> RwLockReadGuard<'_, BTreeMap<SmolStr, Arc<Slot>>> {
        self.shared.slots.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to do for a new breaker, without a lock.
struct New {
    /// Those that it has.
    settings: Arc<Settings>,
    gate: Arc<Gate>,
    after_build: AfterBuild,
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("breakers", &self.breakers()).finish_non_exhaustive()
    }
}
