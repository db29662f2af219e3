//! A connection to Redis that is made when it is needed, and made anew for as long as it takes.
//!
//! Its calls block, with timeouts, so it belongs to a thread that may wait: the writer of a store,
//! or a thread of the fleet's own. A user of its own for each kind of waiting: a [`Connection`] for
//! commands, and another one for a command that blocks on the server ([`Connection::block`]).

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{ConnectionLike, RedisResult};

use super::{
    address::Topology,
    cluster::{HashSlot, Router, SlotMap, slot},
    connector::Connector,
    failure, sentinel,
};
use crate::{process::Process, store::error::StoreError};

/// The pause after a failed attempt to connect. It does not grow: a server that is back is found
/// within it.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// A connection, while there is one.
pub(crate) struct Connection {
    connector: Arc<Connector>,
    /// In a cluster, the slot of all keys that it is used for. `None`: they may be in any.
    slot: Option<HashSlot>,
    live: Option<Live>,
    /// The process that has made it: one that is forked from it would read its replies.
    process: Process,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, String)>,
}

enum Live {
    Server(redis::Connection),
    Cluster(Box<Router>),
}

impl Live {
    fn as_dyn(&mut self) -> &mut dyn ConnectionLike {
        match self {
            Self::Server(connection) => connection,
            Self::Cluster(router) => &mut **router,
        }
    }

    fn set_read_timeout(&self, timeout: Duration) -> RedisResult<()> {
        match self {
            Self::Server(connection) => connection.set_read_timeout(Some(timeout)),
            Self::Cluster(router) => router.set_read_timeout(timeout),
        }
    }

    fn take_failure(&mut self) -> Option<StoreError> {
        match self {
            Self::Server(_) => None,
            Self::Cluster(router) => router.take_failure(),
        }
    }
}

impl Connection {
    /// Connects at the first call.
    pub(crate) const fn new(connector: Arc<Connector>) -> Self {
        Self { connector, slot: None, live: None, process: Process::none(), failed: None }
    }

    /// A connection for commands whose keys are all in the slot of this one: in a cluster, they go
    /// to one node.
    pub(crate) fn beside(connector: Arc<Connector>, key: &str) -> Self {
        Self { slot: Some(slot(key.as_bytes())), ..Self::new(connector) }
    }

    /// Sends commands and reads their replies. An error of the connection ends it, and the next
    /// call makes another: it may be with another server, and one that has lost data.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] or [`StoreError::Misconfigured`] if there is no connection, or
    /// no attempt to make one because the last one failed within the [`RECONNECT_PAUSE`].
    pub(crate) fn call<T>(
        &mut self,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let result = job(self.connected()?.as_dyn());
        self.conclude(result)
    }

    /// [Calls](Self::call) with a command that waits on the server for up to this time, such as
    /// `XREAD BLOCK`.
    pub(crate) fn block<T>(
        &mut self,
        wait: Duration,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let timeout = self.connector.command_timeout;
        let live = self.connected()?;
        let result = live.set_read_timeout(wait + timeout).and_then(|()| {
            let result = job(live.as_dyn());
            live.set_read_timeout(timeout)?;
            result
        });
        self.conclude(result)
    }

    /// Ends the connection, if there is one. The next call makes another.
    pub(crate) fn close(&mut self) {
        self.live = None;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.live.is_some()
    }

    /// How long until a call tries to connect again. Zero: it does so at once, or is connected.
    pub(crate) fn pause(&self) -> Duration {
        let failed = self.failed.as_ref().filter(|_| self.live.is_none());
        failed.map_or(Duration::ZERO, |(at, _)| RECONNECT_PAUSE.saturating_sub(at.elapsed()))
    }

    fn connected(&mut self) -> Result<&mut Live, StoreError> {
        if self.live.is_some() && self.process != Process::current() {
            // Not closed: with TLS, that may say so to the server.
            mem::forget(self.live.take());
        }
        if self.live.is_none() {
            self.connect()?;
        }
        // `connect` has set it.
        self.live.as_mut().ok_or_else(|| StoreError::Unavailable("not connected".into()))
    }

    fn connect(&mut self) -> Result<(), StoreError> {
        if let Some((_, reason)) = &self.failed
            && !self.pause().is_zero()
        {
            return Err(StoreError::Unavailable(reason.clone().into()));
        }
        match self.attempt() {
            Ok(live) => {
                self.live = Some(live);
                self.process = Process::current();
                self.failed = None;
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Finds the server, and connects to it.
    fn attempt(&self) -> Result<Live, StoreError> {
        let connector = &self.connector;
        match (connector.address().topology(), self.slot) {
            (Topology::Server, _) => connector.connect().map(Live::Server),
            (Topology::Sentinel { service }, _) => {
                sentinel::connect(connector, service).map(Live::Server)
            }
            (Topology::Cluster, None) => {
                Router::connect(Arc::clone(connector)).map(|router| Live::Cluster(router.into()))
            }
            (Topology::Cluster, Some(slot)) => {
                let map = SlotMap::read(connector)?;
                let Some(node) = map.primary_of(slot) else {
                    let reason = format!("{} does not serve slot {slot}", connector.address());
                    return Err(StoreError::Unavailable(reason.into()));
                };
                connector.connect_to(node).map(Live::Server)
            }
        }
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed = Some((Instant::now(), error.cause().to_string()));
        error
    }

    fn conclude<T>(&mut self, result: RedisResult<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let error = failure::first(error);
            // An attempt to connect to a node of a cluster.
            let failure = self.live.as_mut().and_then(Live::take_failure);
            if failure::breaks_connection(&error) {
                self.live = None;
            }
            match failure {
                Some(failure) => self.fail(failure),
                None => self.connector.error(&error),
            }
        })
    }
}
