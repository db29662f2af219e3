//! A queue of apalis, kept in `SQLite`, that pauses while the service behind its jobs is down:
//! `cargo run --manifest-path examples/apalis/Cargo.toml`
//!
//! The breaker is a layer of the worker, with back-pressure: while the circuit is open the worker
//! is not ready, so apalis takes no job out of the database, and no attempt is used up. A health
//! check finds out when the service is back, so no job has to be the probe. The exit code is 1 if
//! anything differs from what is printed.

mod upstream;

use std::{error::Error, path::Path, time::Duration};

use apalis::prelude::{BoxDynError, Data, TaskBuilder, TaskSink, WorkerBuilder, WorkerBuilderExt};
use apalis_sqlite::{SqlitePool, SqliteStorage};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, SledStore, State, Trip, health_check::HealthCheck,
    reject::RejectAsBoxError,
};

use self::upstream::Upstream;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const JOBS: u32 = 40;
const MAX_ATTEMPTS: usize = 5;
const OUTAGE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Invoice {
    number: u32,
}

/// The job, which is independent of the breaker.
async fn send(invoice: Invoice, upstream: Data<Upstream>) -> std::result::Result<(), BoxDynError> {
    Ok(upstream.send(invoice.number).await?)
}

#[tokio::main]
async fn main() -> Result {
    let folder = tempfile::tempdir()?;
    timeout(Duration::from_mins(2), run(folder.path())).await?
}

async fn run(folder: &Path) -> Result {
    let database = format!("sqlite://{}?mode=rwc", folder.join("jobs.db").display());
    let pool = SqlitePool::connect(&database).await?;
    SqliteStorage::setup(&pool).await?;
    let mut storage = SqliteStorage::<Invoice>::new(&pool);
    for number in 0..JOBS {
        let job = TaskBuilder::new(Invoice { number }).max_attempts(MAX_ATTEMPTS).build();
        storage.push_task(job).await?;
    }
    println!("{JOBS} jobs are in the database.");

    let layer = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(Duration::from_millis(500))
        .store(SledStore::open(folder.join("breaker"))?)
        .reject_with(RejectAsBoxError) // the layers of apalis have boxed errors
        .backpressure()
        .build()?;
    let breaker = layer.breaker().clone();
    let upstream = Upstream::start().await?;
    let checked = upstream.clone();
    let _check = HealthCheck::new(move || checked.clone().check()).spawn(&breaker)?;

    // The first layer is the outermost one: the timeout is inside the breaker.
    let worker = WorkerBuilder::new("invoices")
        .backend(storage)
        .layer(layer)
        .timeout(Duration::from_secs(2))
        .concurrency(1)
        .data(upstream.clone())
        .build(send);
    let story = tokio::spawn(outage(upstream.clone(), breaker.clone()));
    worker
        .run_with_ctx(move |worker| {
            let upstream = upstream.clone();
            async move {
                until(|| upstream.accepted() == JOBS).await;
                worker.stop()
            }
        })
        .await?;
    story.await??;
    breaker.close().await?;
    verify(&pool).await
}

/// The service is down for a while, after a quarter of the jobs.
async fn outage(upstream: Upstream, breaker: Breaker) -> Result {
    until(|| upstream.accepted() >= JOBS / 4).await;
    upstream.set_down(true);
    println!("The service goes down after {} jobs.", upstream.accepted());
    until(|| breaker.state() == State::Open).await;
    println!("Three jobs have failed, and the circuit is open.");
    sleep(OUTAGE).await;
    let (failed, checks) = (upstream.failed(), upstream.failed_checks());
    println!("{} seconds later: {failed} jobs and {checks} checks failed.", OUTAGE.as_secs());
    // On a machine that is so busy that a check is late, a job is the probe instead.
    if failed < 3 || checks == 0 || failed >= 3 + checks {
        return Err("the checks should have kept the jobs away from the service".into());
    }
    println!("The service is back.");
    upstream.set_down(false);
    Ok(())
}

/// Every job is done, and the failures before the circuit opened are the only ones.
async fn verify(pool: &SqlitePool) -> Result {
    let jobs: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, attempts FROM Jobs").fetch_all(pool).await?;
    let done = jobs.iter().filter(|(status, _)| status == "Done").count();
    let attempts: i64 = jobs.iter().map(|(_, attempts)| attempts).sum();
    println!("{done} of {} jobs are done, after {attempts} attempts.", jobs.len());
    if done != jobs.len() || jobs.len() != usize::try_from(JOBS)? {
        return Err(format!("not every job is done: {jobs:?}").into());
    }
    Ok(())
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(5)).await;
    }
}
