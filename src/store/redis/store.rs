//! The store: what each operation does in Redis.

use std::{fmt, slice, sync::Arc};

use super::{
    connector::Connector,
    history::{self, Appender},
    keys::Keys,
    server::Server,
    values::Values,
};
use crate::store::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    state_store::StateStore,
};

/// Keeps snapshots and histories in a Redis server, so that state survives the loss of a host, and
/// a new replica starts with what its predecessors knew.
///
/// Clones share one connection. It is made by the first operation, not by [`open`](Self::open), and
/// anew whenever it breaks.
///
/// # Keys
///
/// | key | holds |
/// |---|---|
/// | `circuit_breaker:{name}:state` | the snapshot of a breaker, as JSON |
/// | `circuit_breaker:{name}:history` | its history: a sorted set |
/// | `circuit_breaker:{name}:recent`, `:quarantine` | parts of large snapshots; damaged ones |
/// | `circuit_breaker:index`, `:histories` | which snapshots and histories there are |
/// | `circuit_breaker:epoch` | what tells whether the server was emptied |
///
/// The server is never scanned, and any name is safe. The
/// [prefix](crate::store::RedisStoreBuilder::prefix) can be changed.
///
/// Redis removes snapshots by itself: those of open circuits after 24 hours, those of closed and
/// half-open circuits after one hour ([`SnapshotTtl`](crate::config::SnapshotTtl) sets both), but
/// never before the open time ends; those of states set by hand stay. While a breaker is in use,
/// its snapshot is saved again when half of that time has passed. The indexes expire with the last
/// of what they name, unless something in them was ever kept forever, such as a state set by hand;
/// and the epoch two days after the last process that used it.
///
/// # Replicas
///
/// Processes with the same prefix share keys, so a new replica starts with what its predecessors
/// knew. The last save wins, except that new counts alone never replace a circuit that another
/// replica has opened, while it is open, or a state that was set by hand. Until when it is open is
/// said by its replica's clock and judged by the server's: keep them synchronized (NTP), to much
/// less than an open time. Replicas do not follow each other while they run. To keep the state of
/// each replica apart, give each an [instance](crate::store::RedisStoreBuilder::instance).
///
/// When a group of keyed breakers replaces a breaker, its replica removes what it has saved of it
/// itself: the snapshot, unless another process has saved one since, and its own records of the
/// history. The rest expires.
///
/// # Durability
///
/// A save returns once the server has answered. What survives a crash of the server is up to its
/// persistence (`appendonly`, `save`), and what survives a failover up to its replication.
///
/// # When the server cannot be used
///
/// * **Gone, slow, full or read-only**: operations return [`StoreError::Unavailable`] after at most
///   the timeouts (a second each), breakers continue in memory, and a connection is tried again for
///   ever: at once, then no more often than every 500 ms.
/// * **Wrong password, or no permission**: [`StoreError::Misconfigured`], and the same.
/// * **Emptied, or replaced**: breakers notice it with the next save, or within a second while they
///   are idle, and save everything again. If it evicts single keys (`maxmemory-policy`), those of
///   states set by hand and the index are saved again within some ten seconds, and all others
///   before they would have expired. Breakers that are built while there is no index are read one
///   by one; a group of keyed breakers finds its keys once there is one again.
///
/// # Permissions
///
/// A user needs no more than this:
///
/// ```text
/// ACL SETUSER breakers on >secret ~circuit_breaker:* ~circuit_breaker@* +get +set +mget
///     +del +exists +persist +pexpire +pttl +time +eval +evalsha +zadd +zrem +zrangebylex
///     +zrevrangebylex +zremrangebylex +zremrangebyrank
/// ```
///
/// and `+role` on a server that sentinels watch, `+cluster|slots +asking` in a cluster, or
/// `+select` to use another database than 0.
///
/// # Servers
///
/// Redis 6.2 or later.
///
/// | servers | URL | |
/// |---|---|---|
/// | one | `redis://[user][:password@]host[:port][/database]` | tested |
/// | one, by a Unix socket | `unix:///path[?db=..&user=..&pass=..]` | tested |
/// | the primary that sentinels name | `redis+sentinel://[user][:password@]host[:port][,host[:port]..]/service[/database]` | tested |
/// | a Redis Cluster | `redis+cluster://[user][:password@]host[:port][,host[:port]..]` | tested |
/// | each by TLS (feature `redis-tls`) | `rediss`, `rediss+sentinel`, `rediss+cluster` | tested |
/// | replicas behind an address that follows the primary | as for one | expected to work |
/// | Valkey | as for Redis | expected to work |
///
/// The tests run with Redis 7.0. User and password are those of the servers. Sentinels are asked
/// without, unless the URL ends in `?sentinel_user=..&sentinel_password=..`, or
/// [they are set](crate::store::RedisStoreBuilder::sentinel_credentials).
///
/// * **Sentinel**: name all sentinels: one after the other is asked. A primary that does not
///   answer, or has become a replica, is left, and the sentinels are asked for the next one at most
///   every 500 ms.
/// * **Cluster**: name several nodes: one of them is asked for the others, and each is reached
///   under the address that it announces. Slots that move, and replicas that take over, are
///   followed. A node that was emptied is noticed if it has a sixteenth of the slots. While a node
///   is away, the store is degraded, but keys on other nodes are saved.
///
/// # Examples
///
/// ```
/// use tower_breaker::store::RedisStore;
///
/// let store = RedisStore::open("redis://breakers:secret@redis.internal/2")?;
/// assert!(!format!("{store:?}").contains("secret"));
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<RedisInner>,
    label: Option<Arc<str>>,
}

struct RedisInner {
    server: Server,
    values: Values,
    appender: Appender,
}

impl RedisStore {
    pub(super) fn new(connector: Connector, keys: Keys) -> Self {
        let server = Server::new(connector, keys);
        Self {
            shared: Arc::new(RedisInner {
                server,
                values: Values::new(),
                appender: Appender::new(),
            }),
            label: None,
        }
    }

    /// Sets the store's [label](StateStore::label) in metrics. The default is `redis`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.shared.server.connector.address();
        f.debug_struct("RedisStore").field("address", address).finish_non_exhaustive()
    }
}

impl StateStore for RedisStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.values.load(&self.shared.server, key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        Values::load_page(&self.shared.server, after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.save_all(slice::from_ref(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.shared.values.save(&self.shared.server, entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.delete_all(&[key.to_owned()])
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.shared.values.delete(&self.shared.server, keys)
    }

    fn discard_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.shared.values.discard(&self.shared.server, keys)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        self.shared.values.verify(&self.shared.server)
    }

    fn expires_by_itself(&self) -> bool {
        true
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("redis")
    }
}

impl HistoryStore for RedisStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.append_all(&[(key.to_owned(), records.to_vec())])
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        self.shared.appender.append(&self.shared.server, histories)
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        history::load_newest(&self.shared.server, key, before, limit)
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        history::keys(&self.shared.server, after, limit)
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        history::trim(&self.shared.server, key, older_than, keep)
    }

    fn discard(&self, key: &str) -> Result<(), StoreError> {
        self.shared.appender.discard(&self.shared.server, key)
    }
}
