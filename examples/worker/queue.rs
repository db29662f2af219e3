//! Jobs in a sled tree, first in, first out; and those that are out of retries in another.

use std::{
    error::Error,
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sled::{
    Db, IVec, Transactional, Tree,
    transaction::{ConflictableTransactionError, TransactionError},
};

pub(crate) type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A job. One that is out of retries stays like this among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) payload: String,
    /// Attempts that count: those during an outage do not.
    pub(crate) attempts: u32,
    pub(crate) failure: Option<Failure>,
}

/// How a job has failed so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
    /// The last error.
    pub(crate) error: String,
}

impl Job {
    /// Notes a failed attempt.
    pub(crate) fn note(&mut self, error: String, now: SystemTime) {
        let first = self.failure.as_ref().map_or(now, |failure| failure.first);
        self.failure = Some(Failure { first, last: now, error });
    }

    fn last_failure(&self) -> SystemTime {
        self.failure.as_ref().map_or(SystemTime::UNIX_EPOCH, |failure| failure.last)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} ({:?}), {} attempts", self.id, self.payload, self.attempts)?;
        match &self.failure {
            Some(Failure { first, last, error }) => {
                let time = |at: &SystemTime| humantime::format_rfc3339_seconds(*at);
                write!(f, ", failed from {} to {}: {error}", time(first), time(last))
            }
            None => Ok(()),
        }
    }
}

/// How long, and how many, dead letters are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    time: Duration,
    count: usize,
}

impl Retention {
    pub(crate) fn new(days: u32, count: usize) -> Result<Self> {
        if !(1..=365).contains(&days) {
            return Err(format!("dead letters are kept 1 to 365 days, not {days}").into());
        }
        if count == 0 {
            return Err("at least 1 dead letter is kept".into());
        }
        Ok(Self { time: Duration::from_secs(24 * 60 * 60) * days, count })
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { time: Duration::from_secs(24 * 60 * 60) * 30, count: 10_000 }
    }
}

/// What has been written survives a SIGKILL once the method has returned.
pub(crate) struct Queue {
    db: Db,
    /// By the number that a job got when it was added or replayed.
    jobs: Tree,
    /// By the time of the last failure, and the job's id.
    dead: Tree,
    retention: Retention,
}

impl Queue {
    pub(crate) fn open(folder: &Path, retention: Retention) -> Result<Self> {
        let db = sled::Config::new().path(folder).cache_capacity(16 << 20).open()?;
        let (jobs, dead) = (db.open_tree("jobs")?, db.open_tree("dead")?);
        Ok(Self { db, jobs, dead, retention })
    }

    /// Adds a job at the end. Returns its id.
    pub(crate) fn add(&self, payload: &str) -> Result<u64> {
        let id = self.db.generate_id()?;
        let job = Job { id, payload: payload.to_owned(), attempts: 0, failure: None };
        self.jobs.insert(id.to_be_bytes(), serde_json::to_vec(&job)?)?;
        self.db.flush()?;
        Ok(id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The first job, with its key. It stays in the queue until it is done.
    pub(crate) fn first(&self) -> Result<Option<(IVec, Job)>> {
        let Some((key, job)) = self.jobs.first()? else { return Ok(None) };
        Ok(Some((key, serde_json::from_slice(&job)?)))
    }

    pub(crate) async fn done(&self, key: &[u8]) -> Result {
        self.jobs.remove(key)?;
        self.flush().await
    }

    /// The job stays where it is, and is tried again.
    pub(crate) async fn failed(&self, key: &[u8], job: &Job) -> Result {
        self.jobs.insert(key, serde_json::to_vec(job)?)?;
        self.flush().await
    }

    /// Makes a job a dead letter: it is in one of the trees at any time, and never in both.
    pub(crate) async fn bury(&self, key: &[u8], job: &Job) -> Result {
        let value = serde_json::to_vec(job)?;
        let moved = (&self.jobs, &self.dead).transaction(|(jobs, dead)| {
            jobs.remove(key)?;
            dead.insert(dead_key(job).as_slice(), value.as_slice())?;
            Ok::<_, ConflictableTransactionError<()>>(())
        });
        moved.map_err(storage_error)?;
        self.prune(job.last_failure())?;
        self.flush().await
    }

    /// Removes the dead letters that are too old, and the oldest ones where there are too many.
    pub(crate) fn prune(&self, now: SystemTime) -> Result {
        let too_many = self.dead.len().saturating_sub(self.retention.count);
        for (number, letter) in self.dead.iter().enumerate() {
            let (key, job) = letter?;
            let job: Job = serde_json::from_slice(&job)?;
            let age = now.duration_since(job.last_failure()).unwrap_or_default();
            if number >= too_many && age <= self.retention.time {
                break;
            }
            self.dead.remove(key)?;
        }
        Ok(())
    }

    /// The jobs that wait, in their order.
    pub(crate) fn waiting(&self) -> Result<Vec<Job>> {
        all(&self.jobs)
    }

    /// The dead letters, the oldest first.
    pub(crate) fn dead(&self) -> Result<Vec<Job>> {
        all(&self.dead)
    }

    /// Puts a dead letter at the end of the queue, with all its retries.
    pub(crate) fn put_back(&self, letter: Job) -> Result {
        let (old_key, key) = (dead_key(&letter), self.db.generate_id()?.to_be_bytes());
        let value = serde_json::to_vec(&Job { attempts: 0, ..letter })?;
        let moved = (&self.jobs, &self.dead).transaction(|(jobs, dead)| {
            dead.remove(old_key.as_slice())?;
            jobs.insert(key.as_slice(), value.as_slice())?;
            Ok::<_, ConflictableTransactionError<()>>(())
        });
        moved.map_err(storage_error)?;
        self.db.flush()?;
        Ok(())
    }

    async fn flush(&self) -> Result {
        self.db.flush_async().await?;
        Ok(())
    }
}

fn all(tree: &Tree) -> Result<Vec<Job>> {
    tree.iter().values().map(|job| Ok(serde_json::from_slice(&job?)?)).collect()
}

/// Dead letters are in the order in which they failed.
fn dead_key(job: &Job) -> Vec<u8> {
    let at = job.last_failure().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    [micros.to_be_bytes(), job.id.to_be_bytes()].concat()
}

fn storage_error(error: TransactionError<()>) -> Box<dyn Error + Send + Sync> {
    match error {
        TransactionError::Abort(()) => "the transaction was aborted".into(),
        TransactionError::Storage(error) => error.into(),
    }
}
