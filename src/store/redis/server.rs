//! One server, as the store uses it: a connection that several threads take turns with, and the
//! watch over what was saved.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use redis::{ConnectionLike, Pipeline, RedisResult, Value, from_redis_value};

use super::{
    connection::Connection,
    connector::Connector,
    index::{add_script, says_it_was_gone},
    keys::Keys,
    script::{self, Form, Script},
};
use crate::{store::error::StoreError, sync::std_lock as lock};

/// How long the epochs of a process that is gone stay. One that lives refreshes them.
const EPOCH_TTL: Duration = Duration::from_secs(2 * 24 * 3600);
const EPOCH_REFRESH: Duration = Duration::from_secs(3600);

pub(super) struct Server {
    pub(super) connector: Arc<Connector>,
    pub(super) keys: Keys,
    /// The script that adds to an index.
    pub(super) add: Script,
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
    /// When their expiry was last put off.
    refreshed: Option<Instant>,
}

type Epochs = Vec<Option<Vec<u8>>>;

/// The replies of a server to what was saved.
pub(super) struct Written {
    /// Those of the commands that save.
    pub(super) saved: Vec<Value>,
    /// Whether the index was there before.
    pub(super) had_index: bool,
}

impl Server {
    pub(super) fn new(connector: Connector, keys: Keys) -> Self {
        let connector = Arc::new(connector);
        let connection = Connection::new(Arc::clone(&connector));
        let is_cluster = connector.address().is_cluster();
        let epochs = if is_cluster { keys.epochs_of_cluster() } else { vec![keys.epoch()] };
        let session = Mutex::new(Session { connection, epochs: None, refreshed: None });
        Self { connector, keys, add: add_script(), epochs, session }
    }

    /// Sends commands that change nothing that was saved.
    pub(super) fn call<T>(
        &self,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        lock(&self.session).connection.call(job)
    }

    /// Sends commands that save something, which call this script, and then the one that adds it to
    /// an index. A server gets all of them at once.
    ///
    /// # Errors
    ///
    /// Those of a connection, and [`StoreError::Unavailable`] if the server has lost what was saved
    /// before.
    pub(super) fn write(
        &self,
        script: &Script,
        save: impl Fn(Form, &mut Pipeline),
        index: impl Fn(Form, &mut Pipeline),
    ) -> Result<Written, StoreError> {
        let mut session = lock(&self.session);
        let refreshes = session.must_refresh();
        let Session { connection, epochs, .. } = &mut *session;
        let new = epochs.is_none().then(|| format!("{:016x}", fastrand::u64(..)));
        let epochs = |pipeline: &mut Pipeline| {
            for key in &self.epochs {
                if let Some(new) = &new {
                    pipeline.cmd("SET").arg(key).arg(new).arg("NX").ignore();
                }
                pipeline.cmd("GET").arg(key);
                if refreshes {
                    put_off_expiry(pipeline, key);
                }
            }
        };
        let is_cluster = self.connector.address().is_cluster();
        // Each names the commands of its own lines.
        let named = |error| self.add.name_what_is_denied(script.name_what_is_denied(error));
        let mut replies = connection.call(|connection| {
            if !is_cluster {
                return script::run(connection, |form, pipeline| {
                    epochs(pipeline);
                    save(form, pipeline);
                    index(form, pipeline);
                })
                .map_err(named);
            }
            // One node does not wait for another, and while one is away, the others save. The
            // error of the one hides whether the others know the script.
            let found = script::run(connection, |_, pipeline| epochs(pipeline));
            let saved = script::run(connection, |form, pipeline| {
                save(if found.is_err() { Form::Whole } else { form }, pipeline);
            });
            let indexed = script::run(connection, |form, pipeline| {
                index(if found.is_err() { Form::Whole } else { form }, pipeline);
            });
            let mut replies = found?;
            replies.extend(saved.map_err(named)?);
            replies.extend(indexed.map_err(named)?);
            Ok(replies)
        })?;
        session.note_refresh(refreshes);
        let mut saved = replies.split_off(self.epochs.len().min(replies.len()));
        let had_index = saved.pop().is_none_or(|reply| !says_it_was_gone(&reply));
        session.check(self, replies)?;
        Ok(Written { saved, had_index })
    }

    /// Whether what was saved is still there.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        let mut session = lock(&self.session);
        let refreshes = session.epochs.is_some() && session.must_refresh();
        let found = session.connection.call(|connection| {
            script::run(connection, |_, pipeline| {
                for key in &self.epochs {
                    pipeline.cmd("GET").arg(key);
                    if refreshes {
                        put_off_expiry(pipeline, key);
                    }
                }
            })
        })?;
        session.note_refresh(refreshes);
        if session.epochs.is_some() { session.check(self, found) } else { Ok(()) }
    }

    /// Something that all processes need is gone, as the error says: they notice it by epochs that
    /// are others, and save everything again.
    pub(super) fn lose(&self, what: &str) -> StoreError {
        let mut session = lock(&self.session);
        // If that fails, this process alone does so.
        let _ = session.connection.call(|connection| {
            script::run(connection, |_, pipeline| {
                for key in &self.epochs {
                    pipeline.cmd("DEL").arg(key);
                }
            })
        });
        (session.epochs, session.refreshed) = (None, None);
        self.has_lost(what)
    }

    /// Some of what was saved is gone: all is to be saved again.
    pub(super) fn has_lost(&self, what: &str) -> StoreError {
        let reason = format!(
            "{} has lost what was saved: {what}; everything is saved again",
            self.connector.address(),
        );
        StoreError::Unavailable(reason.into())
    }
}

fn put_off_expiry(pipeline: &mut Pipeline, epoch: &str) {
    let ttl = EPOCH_TTL.as_millis().to_string();
    pipeline.cmd("PEXPIRE").arg(epoch).arg(ttl).ignore();
}

impl Session {
    fn must_refresh(&self) -> bool {
        self.refreshed.is_none_or(|at| at.elapsed() >= EPOCH_REFRESH)
    }

    fn note_refresh(&mut self, is_refreshed: bool) {
        if is_refreshed {
            self.refreshed = Some(Instant::now());
        }
    }

    fn check(&mut self, server: &Server, found: Vec<Value>) -> Result<(), StoreError> {
        let found: Epochs =
            found.into_iter().map(|value| from_redis_value(value).unwrap_or_default()).collect();
        match &self.epochs {
            None => self.epochs = Some(found),
            Some(epochs) if *epochs == found => {}
            Some(_) => {
                (self.epochs, self.refreshed) = (None, None);
                return Err(server.has_lost("it was emptied, or is another server"));
            }
        }
        Ok(())
    }
}
