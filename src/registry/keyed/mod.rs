//! A breaker for each key of a group: for each host, route or tenant.

mod anchor;
mod builder;
mod call_key;
mod entries;
mod hashed;
mod key_labels;
#[cfg(all(test, tower_breaker_loom))]
mod loom_tests;
mod max_open;
mod missing;
mod names;
mod replacement;
mod restore;
mod seen;
mod slots;
mod source;
mod stats;
mod table;
mod when_full;

use std::{fmt, sync::Arc};

use tokio::sync::broadcast;

use self::table::Table;
pub use self::{
    builder::KeyedBreakersBuilder,
    stats::{KeyedStats, OpenLimitStats},
    when_full::WhenFull,
};
pub(crate) use self::{missing::Missing, table::Found};
use crate::{
    breaker::nesting::key_mark::KeyMark,
    config::{Config, ConfigError},
    event::Event,
    handle::Breaker,
};

/// Breakers by key, which come into being as keys are seen.
///
/// All breakers of a group have the same settings. A `KeyedCircuitBreakerLayer` asks it for the
/// breaker of each request; without a tower service, [`get_or_create`](Self::get_or_create) does.
/// A handle: cheap to clone, and all clones are the same group.
///
/// # When a key has a breaker
///
/// If the rules are on consecutive failures alone, a key gets its breaker with its first failure:
/// until then it costs nothing. It gets it with its first call if more than failures is to be
/// known of each key: under a rule on a window, with
/// [`abandoned_after`](crate::Config::abandoned_after), if a layer waits for the end of a body,
/// with durations among the [call metrics](crate::Config::call_metrics), with
/// [`metrics_by_key`](KeyedBreakersBuilder::metrics_by_key), with a [fleet](#with-a-fleet), and in
/// a group that is full and [shares a breaker](WhenFull::Share).
///
/// # Bounds
///
/// A group has at most [`max_breakers`](KeyedBreakersBuilder::max_breakers), so that invented keys
/// do not fill the memory. When it is full, a new breaker replaces one that is closed and was not
/// used lately, or else one that is half-open and idle, or else one that is closed and was used. A
/// breaker that is open or was set by hand is never replaced. If there is none to replace, the new
/// key's calls are not recorded, or go by one shared breaker: see [`WhenFull`]. A new key looks at
/// 1024 breakers at most, and the next one goes on from there. So if nearly all breakers of a
/// larger group are open, the few others are found by one of the next new keys.
///
/// With many invented keys, a process grows by more than its breakers take, since they come and go
/// while others are read and saved. With the default of 10,000 breakers and a sled store, ten
/// million such keys add some 45 MB, of which 10 MB after the first million; a test holds them to
/// 128 MB. The store's thread takes one or two hundredths of a processor meanwhile. Calls of other
/// keys that take 20 us or more have the same 99th percentile as beside as much work that is not
/// this crate's, within a tenth (measured by another test).
///
/// "Lately" means: since about as many other keys got a breaker as the group may have. A key that
/// is called less often than that is forgotten between its calls, with its failures, and its
/// circuit does not open. So `max_breakers` should be larger than the number of keys that fail at
/// one time.
///
/// [`max_open_ratio`](KeyedBreakersBuilder::max_open_ratio) bounds the share of keys whose circuits
/// are open at once.
///
/// # With a store
///
/// `build` restores the breakers that the [store](KeyedBreakersBuilder::store) knows, so the first
/// call of a key whose circuit is open is rejected. While the store cannot be read, such as a
/// folder that another process holds during a deploy, it is read again after a second, and then
/// after longer pauses of up to 10 seconds. Neither a call nor the creation or replacement of a
/// breaker waits for the store. A breaker that was replaced is forgotten: its snapshot and its
/// history are deleted in the background, so that invented keys do not fill the store. (In a Redis
/// server that replicas share, each deletes only what it has saved itself.) Dropping the last
/// handle of the group saves its breakers, each as the drop of a single [`Breaker`] does.
///
/// # With a fleet
///
/// With `KeyedBreakersBuilder::shared` (feature `redis`), the breakers of one group and key are one
/// on all replicas: see the module `fleet`. Nothing waits for the fleet's server, neither a call
/// nor `build`. A key gets its breaker with its first call on a replica, and the state of the fleet
/// is asked for in the background: until the answer comes, which takes milliseconds, calls of a key
/// that is new to the replica go by a closed circuit, or by what the store held. From then on,
/// circuits that open on other replicas open here too.
///
/// Each new key costs the server a command, and no memory before its circuit opens. A breaker that
/// was replaced leaves the fleet. The one that keys without room share is each replica's own. A
/// circuit that another replica has opened opens whatever
/// [`max_open_ratio`](KeyedBreakersBuilder::max_open_ratio) says, and counts.
///
/// # Settings from a file
///
/// An entry of a [`ConfigFile`](crate::config::ConfigFile) has the settings of a group. After a
/// reload, [`update`](Self::update) passes them on:
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::{KeyedBreakers, config::ConfigFile};
///
/// let read = |json| ConfigFile::from_json(json);
/// let file = read(r#"{"breakers": {"upstream": {"recovery_timeout": "30s"}}}"#)?;
/// let hosts = KeyedBreakers::builder("upstream").config(file.get("upstream").clone()).build()?;
///
/// let file = read(r#"{"breakers": {"upstream": {"recovery_timeout": "5s"}}}"#)?;
/// hosts.update(file.get("upstream").clone())?;
/// assert_eq!(hosts.config().recovery_timeout, Duration::from_secs(5));
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
///
/// # Names
///
/// The breaker of a key is named `{group}:{key}`: in the store, in logs and in events. In both
/// parts, `:` is written as `%3A` and `%` as `%25`. A key whose name would be longer than 512 bytes
/// is replaced by its SHA-256.
///
/// Do not give a single breaker the name of a key, such as `upstream:a`, if it has the same store:
/// the state of both would be one, and only the breaker that was built last would save it.
///
/// The process keeps up to 1,024 names of more than 23 bytes of breakers that have rejected a call.
#[derive(Clone)]
pub struct KeyedBreakers {
    table: Arc<Table>,
}

impl KeyedBreakers {
    /// Starts a group. Its name begins the names of its breakers: 1 to 256 bytes of any text, in
    /// which `:` and `%` count as three.
    pub fn builder(group: impl AsRef<str>) -> KeyedBreakersBuilder {
        KeyedBreakersBuilder::new(group.as_ref())
    }

    /// The name of the group.
    #[must_use]
    pub fn name(&self) -> &str {
        self.table.group().name()
    }

    /// Returns the breaker of this key, if it has one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Breaker> {
        self.table.get(&self.table.shorten(key))
    }

    /// Returns the breaker of this key, and creates it if there is none. It never waits for the
    /// store. `None` if the group is full of breakers that cannot be replaced.
    ///
    /// Keep the handle for one call, not for longer: a breaker that was replaced works on in
    /// memory, but is not the key's any more.
    ///
    /// Within a request of the same key that a layer of the group has admitted, a call is part of
    /// that request, as with the [same breaker twice](crate::CircuitBreaker#with-other-middleware),
    /// also if the key had no breaker when the request began.
    #[must_use]
    pub fn get_or_create(&self, key: &str) -> Option<Breaker> {
        self.table.get_or_create(&self.table.shorten(key))
    }

    /// Returns the breakers of all keys that have one, in no particular order. The one that keys
    /// without room [share](WhenFull::Share) is not among them.
    #[must_use]
    pub fn breakers(&self) -> Vec<Breaker> {
        self.table.breakers()
    }

    /// All breakers of the group, and the one that keys without room share.
    #[cfg(feature = "admin")]
    pub(crate) fn breakers_and_shared(&self) -> Vec<Breaker> {
        let mut breakers = self.table.breakers();
        breakers.extend(self.table.shared().cloned());
        breakers
    }

    /// The breaker of this name. Looking at it does not count as a use of its key.
    #[cfg(feature = "admin")]
    pub(crate) fn get_by_name(&self, name: &str) -> Option<Breaker> {
        self.table.get_by_name(name)
    }

    /// How many breakers the group has at most.
    #[cfg(feature = "admin")]
    pub(crate) fn max_breakers(&self) -> usize {
        self.table.slots.max()
    }

    /// How many breakers the group has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the group has no breaker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls were not recorded because the group was full. Where a key has no breaker
    /// before its first failure, these are the failures.
    #[must_use]
    pub fn unrecorded_calls(&self) -> u64 {
        self.table.unrecorded()
    }

    /// What has been counted of the calls of all keys. With metrics
    /// [by key](KeyedBreakersBuilder::metrics_by_key), what has been counted for no key: the calls
    /// that were not recorded because the group was full; each breaker has its own numbers.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    #[must_use]
    pub fn metrics(&self) -> crate::metrics::BreakerMetrics {
        self.table.group().metrics().unwrap_or_default()
    }

    /// The counts of the group.
    #[must_use]
    pub fn stats(&self) -> KeyedStats {
        self.table.stats()
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.table.config()
    }

    /// Replaces the settings of all breakers, of those too that are created later. They keep their
    /// states and counts, as with [`Breaker::update`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is out of range; then nothing changes. Also if the group is
    /// shared and its fleet cannot count for one of the rules.
    pub fn update(&self, config: impl Into<Arc<Config>>) -> Result<(), ConfigError> {
        let config = config.into();
        self.table.source.validate(&config)?;
        self.table.update(config);
        Ok(())
    }

    /// [Resets](Breaker::reset) every breaker, also the one that keys without room
    /// [share](WhenFull::Share).
    pub fn reset_all(&self) {
        self.breakers().iter().chain(self.table.shared()).for_each(Breaker::reset);
    }

    /// Subscribes to the events of all breakers of the group.
    ///
    /// A receiver that falls behind by more than 1,024 events loses the oldest ones, and its next
    /// `recv` returns [`Lagged`](broadcast::error::RecvError::Lagged).
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.table.subscribe()
    }

    /// A breaker that stands for the group as a whole: it records nothing.
    pub(crate) fn group(&self) -> &Breaker {
        self.table.group()
    }

    /// By which a call of this key is recognized further in while it has no breaker.
    #[cold]
    pub(crate) fn mark_of(&self, key: &str) -> KeyMark {
        self.table.mark_of(&self.table.shorten(key))
    }

    /// Whether a call with this key would be rejected now. It is no use of its breaker, but
    /// `max_open_ratio` counts the key as one that was called.
    #[cfg(feature = "load")]
    pub(crate) fn would_reject(&self, key: &str) -> bool {
        self.table.would_reject(&self.table.shorten(key))
    }

    /// Finds what a call with this key is recorded by, and passes the breaker to the closure.
    /// `can_wait`: whether a key may be without a breaker until a call fails.
    #[inline]
    pub(crate) fn find<T>(
        &self,
        key: &str,
        can_wait: bool,
        admit: impl FnOnce(&Breaker) -> T,
    ) -> Found<T> {
        self.table.find(&self.table.shorten(key), can_wait, admit)
    }

    /// The group of a key that was [found](Self::find) without a breaker, if it is still there.
    pub(crate) fn of(missing: &Missing) -> Option<Self> {
        Some(Self { table: missing.group()? })
    }

    /// Passes the breaker of such a key to the closure, and creates it if it still has none.
    pub(crate) fn with_new<T>(
        &self,
        missing: &Missing,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        self.table.with_new(missing, work)
    }

    /// Passes the breaker of such a key to the closure, if another call has created it meanwhile.
    pub(crate) fn with_late<T>(
        &self,
        missing: &Missing,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        self.table.with_late(missing, work)
    }

    /// The breaker of such a key, if another call has created it meanwhile.
    pub(crate) fn find_late(&self, missing: &mut Missing) -> Option<Breaker> {
        self.table.find_late(missing)
    }
}

impl fmt::Debug for KeyedBreakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakers")
            .field("name", &self.name())
            .field("breakers", &self.len())
            .finish_non_exhaustive()
    }
}
