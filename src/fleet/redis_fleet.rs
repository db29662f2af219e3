//! The handle of a fleet, and its settings.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{
    agreement::Agreement,
    counts::FleetCounts,
    health::{FleetHealth, Gauges},
    replica::{FleetError, FleetReplica},
    settings::{self, Settings},
    threads::Threads,
};
use crate::store::{
    StoreError,
    redis::{ConnectionSettings, connection_settings},
};

const MOST_SHARDS: u16 = 1000;
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// Shares breakers with other replicas of a service through a Redis server.
///
/// A handle: cheap to clone. All breakers that are shared through it use its two threads and its
/// two connections, or as many for each [shard](RedisFleetBuilder::shards). See the
/// [module's documentation](crate::fleet) for what is shared.
#[derive(Clone)]
pub struct RedisFleet {
    /// Those of each shard. At least one.
    shards: Arc<Shards>,
}

struct Shards(Box<[Arc<Threads>]>);

/// All of them end side by side: each may have something to take back first.
impl Drop for Shards {
    fn drop(&mut self) {
        let last = self.0.iter().filter(|threads| Arc::strong_count(threads) == 1);
        last.for_each(|threads| threads.stop());
    }
}

impl RedisFleet {
    /// A fleet on the server of this URL, with the default settings:
    /// `redis://[user][:password@]host[:port][/database]`, `unix:///path`, or the URL of sentinels
    /// or of a cluster. [Servers](crate::store::RedisStore#servers) has all forms.
    ///
    /// This only checks the URL. If the server cannot be reached, the replica decides alone, and
    /// keeps trying.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL is invalid.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).build()
    }

    /// Begins with a URL, as for [`open`](Self::open).
    pub fn builder(url: &str) -> RedisFleetBuilder {
        RedisFleetBuilder::new(url)
    }

    /// Whether this process reaches the fleet: each shard that has a breaker here.
    /// [`FleetHealth::Alone`] before the first breaker is built.
    #[must_use]
    pub fn health(&self) -> FleetHealth {
        let started = self.shards.0.iter().filter(|threads| threads.are_started());
        let mut all = started.map(|threads| threads.health());
        // Threads start with the first breaker of their shard.
        let Some(first) = all.next() else { return self.shards.0[0].health() };
        if first.is_alone() { first } else { all.find(FleetHealth::is_alone).unwrap_or(first) }
    }

    /// The id of this replica, under which [`replicas`](Self::replicas) lists it.
    #[must_use]
    pub fn replica_id(&self) -> &str {
        self.shards.0[0].replica_id()
    }

    /// The replicas that the server has heard of within the last ten minutes, by their id. Those
    /// that have ended are not listed. A replica is known in the shards of its breakers, and asked
    /// for in those of this process.
    ///
    /// It asks the server. That takes one of its threads, not the caller's, and needs no runtime.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotReached`] if this process does not reach a shard of the fleet, as before
    /// the first breaker is built, when it has not tried.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: it only reads.
    ///
    /// ```no_run
    /// # async fn show(fleet: tower_breaker::fleet::RedisFleet)
    /// # -> Result<(), tower_breaker::fleet::FleetError> {
    /// for replica in fleet.replicas().await? {
    ///     println!("{} {}", replica.id, if replica.is_present { "is there" } else { "is gone" });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replicas(&self) -> Result<Vec<FleetReplica>, FleetError> {
        let mut all: BTreeMap<String, FleetReplica> = BTreeMap::new();
        let started = self.shards.0.iter().filter(|threads| threads.are_started());
        let asked: Vec<_> = started.collect();
        let asked = if asked.is_empty() { vec![&self.shards.0[0]] } else { asked };
        for threads in asked {
            for replica in threads.replicas().await? {
                let known = all.get(&replica.id);
                if known.is_none_or(|known| known.last_seen < replica.last_seen) {
                    all.insert(replica.id.clone(), replica);
                }
            }
        }
        Ok(all.into_values().collect())
    }

    pub(crate) fn counts(&self) -> FleetCounts {
        self.shards.0[0].counts()
    }

    /// The threads for the breakers of this name.
    pub(crate) fn threads(&self, name: &str) -> Arc<Threads> {
        let shard = settings::hash(name) % self.shards.0.len() as u64;
        Arc::clone(&self.shards.0[usize::try_from(shard).unwrap_or_default()])
    }
}

impl fmt::Debug for RedisFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shards.0[0].fmt(f)
    }
}

/// Settings of a [`RedisFleet`].
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::fleet::{Agreement, RedisFleet};
///
/// let fleet = RedisFleet::builder("redis://redis.internal")
///     .agreement(Agreement::replicas(2))
///     .lease(Duration::from_secs(10))
///     .build()?;
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[must_use = "call `build` to create the fleet"]
pub struct RedisFleetBuilder {
    connection: ConnectionSettings,
    settings: Settings,
    shards: u16,
}

impl RedisFleetBuilder {
    fn new(url: &str) -> Self {
        let replica = settings::random_id();
        let settings = Settings {
            agreement: Agreement::any(),
            voter: settings::hash(&replica),
            replica,
            lease: Duration::from_secs(5),
            counts: FleetCounts::Own,
            prefix: "circuit_breaker".to_owned(),
            timeout: COMMAND_TIMEOUT,
        };
        let mut connection = ConnectionSettings::new(url);
        connection.command_timeout(COMMAND_TIMEOUT);
        Self { connection, settings, shards: 1 }
    }

    /// How many replicas must have tripped before the circuit of all opens. Default:
    /// [`Agreement::any`].
    pub fn agreement(mut self, agreement: Agreement) -> Self {
        self.settings.agreement = agreement;
        self
    }

    /// Identifies this replica when votes are counted, and for operators: 1 to 128 bytes of any
    /// text. Default: the name of the host, if the environment variable `HOSTNAME` or Linux says
    /// it, with random digits for each fleet that is built; so a process that is killed and
    /// restarts while its vote still counts votes twice. (One that drops its fleet and breakers
    /// takes its votes back.) Where replicas must [agree](Self::agreement), give each an id that it
    /// keeps. Replicas with one id vote as one, and are listed as one.
    pub fn replica_id(mut self, id: impl Into<String>) -> Self {
        self.settings.replica = id.into();
        self.settings.voter = settings::hash(&self.settings.replica);
        self
    }

    /// How long the lease of a probe lasts without renewal. It is renewed while the probe is in
    /// flight, so if a probing replica dies, the recovery is delayed by at most this time. Default:
    /// 5 s. At least 100 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Whose calls the rate rules count. Default: [`FleetCounts::Own`].
    pub fn counts(mut self, counts: FleetCounts) -> Self {
        self.settings.counts = counts;
        self
    }

    /// What all keys begin with, followed by a colon. All replicas must use the same. Default:
    /// `circuit_breaker`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Spreads the breakers over this many shards, by their names. Each has keys of its own, which
    /// a Redis Cluster keeps on one node, and two threads and two connections in each replica that
    /// has a breaker of it. All replicas must use the same number. Default: 1. At most 1,000.
    ///
    /// With a single server, one is best.
    pub fn shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    connection_settings! { command_timeout: "500 ms", thread: "a thread of the fleet" }

    /// Creates the fleet. It connects when the first breaker is built.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL, the prefix, the lease, the number of shards, a
    /// timeout or a certificate is invalid.
    pub fn build(mut self) -> Result<RedisFleet, StoreError> {
        let misconfigured = |why: String| {
            Err(StoreError::Misconfigured(format!("the fleet's setting {why}").into()))
        };
        let connector = self.connection.build()?;
        self.settings.timeout = connector.command_timeout;
        let Settings { lease, replica, prefix, .. } = &self.settings;
        if *lease < SHORTEST_LEASE {
            return misconfigured(format!(
                "`lease` must be at least {SHORTEST_LEASE:?}, is {lease:?}"
            ));
        }
        if !(1..=128).contains(&replica.len()) {
            let length = replica.len();
            return misconfigured(format!("`replica_id` must be 1 to 128 bytes long, is {length}"));
        }
        if prefix.is_empty() {
            return misconfigured("`prefix` must not be empty".to_owned());
        }
        if prefix.contains(['{', '}']) {
            return misconfigured(format!("`prefix` must not contain `{{` or `}}`, is {prefix:?}"));
        }
        if !(1..=MOST_SHARDS).contains(&self.shards) {
            let shards = self.shards;
            return misconfigured(format!("`shards` must be 1 to {MOST_SHARDS}, is {shards}"));
        }
        let (connector, settings) = (Arc::new(connector), Arc::new(self.settings));
        let gauges = Gauges::new();
        let threads = |shard| {
            let (connector, settings) = (Arc::clone(&connector), Arc::clone(&settings));
            Arc::new(Threads::new(connector, settings, shard, Arc::clone(&gauges)))
        };
        Ok(RedisFleet { shards: Arc::new(Shards((0..self.shards).map(threads).collect())) })
    }
}

impl fmt::Debug for RedisFleetBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisFleetBuilder")
            .field("connection", &self.connection)
            .field("settings", &self.settings)
            .field("shards", &self.shards)
            .finish()
    }
}
