//! One server, as the store uses it: a connection that several threads take turns with, and the
//! watch over what was saved.

use std::sync::{Arc, Mutex};

use redis::{ConnectionLike, Pipeline, RedisResult, Value, from_redis_value};

use super::{
    connection::Connection,
    connector::Connector,
    keys::Keys,
    script::{self, Form, Script},
};
use crate::{store::error::StoreError, sync::std_lock as lock};

pub(super) struct Server {
    pub(super) connector: Arc<Connector>,
    pub(super) keys: Keys,
    /// The keys of [`Session::epochs`].
    epochs: Vec<String>,
    session: Mutex<Session>,
}

struct Session {
    connection: Connection,
    /// Random numbers that are kept in Redis beside what is saved, one in each part of it that may
    /// be lost alone. `None`: nothing was saved yet. If one changes, the server was emptied, or is
    /// another one.
    epochs: Option<Epochs>,
}

type Epochs = Vec<Option<Vec<u8>>>;

impl Server {
    pub(super) fn new(connector: Connector, keys: Keys) -> Self {
        let connector = Arc::new(connector);
        let connection = Connection::new(Arc::clone(&connector));
        let is_cluster = connector.address().is_cluster();
        let epochs = if is_cluster { keys.epochs_of_cluster() } else { vec![keys.epoch()] };
        let session = Mutex::new(Session { connection, epochs: None });
        Self { connector, keys, epochs, session }
    }

    /// Sends commands that change nothing that was saved.
    pub(super) fn call<T>(
        &self,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        lock(&self.session).connection.call(job)
    }

    /// Sends commands that save something, and then those that add it to an index, and returns the
    /// replies of the first, which call this script. A server gets all of them at once.
    ///
    /// # Errors
    ///
    /// Those of a connection, and [`StoreError::Unavailable`] if the server has lost what was saved
    /// before.
    pub(super) fn write(
        &self,
        script: &Script,
        save: impl Fn(Form, &mut Pipeline),
        index: impl Fn(&mut Pipeline),
    ) -> Result<Vec<Value>, StoreError> {
        let mut session = lock(&self.session);
        let Session { connection, epochs } = &mut *session;
        let new = epochs.is_none().then(|| format!("{:016x}", fastrand::u64(..)));
        let epochs = |pipeline: &mut Pipeline| {
            for key in &self.epochs {
                if let Some(new) = &new {
                    pipeline.cmd("SET").arg(key).arg(new).arg("NX").ignore();
                }
                pipeline.cmd("GET").arg(key);
            }
        };
        let is_cluster = self.connector.address().is_cluster();
        let named = |error| script.name_what_is_denied(error);
        let mut replies = connection.call(|connection| {
            if !is_cluster {
                return script::run(connection, |form, pipeline| {
                    epochs(pipeline);
                    save(form, pipeline);
                    index(pipeline);
                })
                .map_err(named);
            }
            // One node does not wait for another, and while one is away, the others save. The
            // error of the one hides whether the others know the script.
            let found = script::run(connection, |_, pipeline| epochs(pipeline));
            let saved = script::run(connection, |form, pipeline| {
                save(if found.is_err() { Form::Whole } else { form }, pipeline);
            });
            let indexed = script::run(connection, |_, pipeline| index(pipeline));
            let mut replies = found?;
            replies.extend(saved.map_err(named)?);
            indexed?;
            Ok(replies)
        })?;
        let saved = replies.split_off(self.epochs.len().min(replies.len()));
        session.check(self, replies)?;
        Ok(saved)
    }

    /// Whether what was saved is still there.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        let mut session = lock(&self.session);
        let found = session.connection.call(|connection| {
            script::run(connection, |_, pipeline| {
                for key in &self.epochs {
                    pipeline.cmd("GET").arg(key);
                }
            })
        })?;
        if session.epochs.is_some() { session.check(self, found) } else { Ok(()) }
    }
}

impl Session {
    fn check(&mut self, server: &Server, found: Vec<Value>) -> Result<(), StoreError> {
        let found: Epochs =
            found.into_iter().map(|value| from_redis_value(value).unwrap_or_default()).collect();
        match &self.epochs {
            None => self.epochs = Some(found),
            Some(epochs) if *epochs == found => {}
            Some(_) => {
                self.epochs = None;
                let reason = format!(
                    "{} has lost what was saved: it was emptied, or is another server; everything \
                     is saved again",
                    server.connector.address(),
                );
                return Err(StoreError::Unavailable(reason.into()));
            }
        }
        Ok(())
    }
}
