//! One server, as the store uses it: a connection that several threads take turns with, and the
//! watch over what was saved.

use std::sync::{Arc, Mutex};

use redis::{ConnectionLike, Pipeline, RedisResult, Value, from_redis_value};

use super::{
    connection::{Connection, Connector},
    keys::Keys,
    script::{self, Form},
};
use crate::{store::error::StoreError, sync::std_lock as lock};

pub(super) struct Server {
    pub(super) connector: Arc<Connector>,
    pub(super) keys: Keys,
    session: Mutex<Session>,
}

struct Session {
    connection: Connection,
    /// A random number that is kept in Redis beside what is saved. `None`: nothing was saved yet.
    /// If it changes, the server was emptied, or is another one.
    epoch: Option<Vec<u8>>,
}

impl Server {
    pub(super) fn new(connector: Connector, keys: Keys) -> Self {
        let connector = Arc::new(connector);
        let connection = Connection::new(Arc::clone(&connector));
        Self { connector, keys, session: Mutex::new(Session { connection, epoch: None }) }
    }

    /// Sends commands that change nothing that was saved.
    pub(super) fn call<T>(
        &self,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        lock(&self.session).connection.call(job)
    }

    /// Sends commands that save something, in one pipeline, and returns their replies.
    ///
    /// # Errors
    ///
    /// Those of a connection, and [`StoreError::Unavailable`] if the server has lost what was saved
    /// before.
    pub(super) fn write(
        &self,
        build: impl Fn(Form, &mut Pipeline),
    ) -> Result<Vec<Value>, StoreError> {
        let key = self.keys.epoch();
        let mut session = lock(&self.session);
        let Session { connection, epoch } = &mut *session;
        let new = epoch.is_none().then(|| format!("{:016x}", fastrand::u64(..)));
        let mut replies = connection.call(|connection| {
            script::run(connection, |form, pipeline| {
                if let Some(new) = &new {
                    pipeline.cmd("SET").arg(&key).arg(new).arg("NX").ignore();
                }
                pipeline.cmd("GET").arg(&key);
                build(form, pipeline);
            })
        })?;
        let found = replies.remove(0);
        session.check(self, found)?;
        Ok(replies)
    }

    /// Whether what was saved is still there.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        let key = self.keys.epoch();
        let mut session = lock(&self.session);
        let found =
            session.connection.call(|connection| redis::cmd("GET").arg(&key).query(connection))?;
        if session.epoch.is_some() { session.check(self, found) } else { Ok(()) }
    }
}

impl Session {
    fn check(&mut self, server: &Server, found: Value) -> Result<(), StoreError> {
        let found: Option<Vec<u8>> = from_redis_value(found).unwrap_or_default();
        if self.epoch.is_none() {
            self.epoch = found;
        } else if self.epoch != found {
            self.epoch = None;
            let reason = format!(
                "{} has lost what was saved: it was emptied, or is another server; everything is \
                 saved again",
                server.connector.address(),
            );
            return Err(StoreError::Unavailable(reason.into()));
        }
        Ok(())
    }
}
