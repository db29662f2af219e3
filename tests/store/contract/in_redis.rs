//! Stores in a Redis server that the tests share, each with keys of its own.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use tower_breaker::store::{RedisStore, RedisStoreBuilder};

use super::Subject;
use crate::support::{
    redis::{RedisServer, shared},
    redis_cluster::RedisCluster,
};

pub(super) struct InRedis {
    server: Arc<RedisServer>,
    prefix: String,
}

impl InRedis {
    fn builder(&self) -> RedisStoreBuilder {
        RedisStore::builder(&self.server.url()).prefix(&self.prefix)
    }
}

impl Subject for InRedis {
    type Store = RedisStore;

    fn create() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test {}", COUNT.fetch_add(1, SeqCst));
        Some(Self { server: shared()?, prefix })
    }

    fn open(&self) -> RedisStore {
        self.builder().open().unwrap()
    }
}

pub(super) struct InRedisAsAnInstance(InRedis);

impl Subject for InRedisAsAnInstance {
    type Store = RedisStore;

    fn create() -> Option<Self> {
        InRedis::create().map(Self)
    }

    fn open(&self) -> RedisStore {
        self.0.builder().instance("web-1").open().unwrap()
    }
}

/// Stores in a Redis Cluster that the tests share.
pub(super) struct InRedisCluster {
    cluster: Arc<RedisCluster>,
    prefix: String,
}

impl Subject for InRedisCluster {
    type Store = RedisStore;

    fn create() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SHARED: Mutex<Weak<RedisCluster>> = Mutex::new(Weak::new());
        let prefix = format!("test {}", COUNT.fetch_add(1, SeqCst));
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = shared.upgrade().or_else(|| RedisCluster::start().map(Arc::new))?;
        *shared = Arc::downgrade(&cluster);
        Some(Self { cluster, prefix })
    }

    fn open(&self) -> RedisStore {
        RedisStore::builder(&self.cluster.url()).prefix(&self.prefix).open().unwrap()
    }
}
