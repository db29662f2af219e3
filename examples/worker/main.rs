//! A worker whose queue pauses during an outage, instead of using up the retries of its jobs.
//!
//! It sends each job to an upstream. Before it takes one, it asks the breaker, so while the circuit
//! is open the jobs stay where they are, in their order. A health check finds out when the upstream
//! is back, so no job has to be the probe. An attempt that opens the circuit does not count either:
//! it was the outage that failed. A job that fails five times while the upstream works becomes a
//! dead letter, which can be replayed.
//!
//! ```text
//! cargo run --example worker -- add one two three     adds jobs
//! cargo run --example worker -- list                  lists the jobs that wait
//! cargo run --example worker -- run                   works until the queue is empty
//! cargo run --example worker -- dead                  lists the dead letters
//! cargo run --example worker -- replay [ID ..]        puts them, or all, back
//! ```
//!
//! One process at a time can use the queue. Killed at any moment, it loses no job: a job leaves the
//! queue when the upstream has it. If the process is killed just in between, the job is sent again,
//! with the same `Idempotency-Key`.
//!
//! | variable | default | |
//! |---|---|---|
//! | `UPSTREAM` | `http://127.0.0.1:4000` | jobs are sent to `/jobs`, and `/health` is checked |
//! | `STATE_DIR` | `worker-state` | the queue, the dead letters and the state of the breaker |
//! | `RECOVERY_TIMEOUT` | `5s` | for how long the circuit stays open |
//! | `RETRY_DELAY` | `100ms` | the delay after the first failure of a job; it doubles |
//! | `DEAD_LETTER_DAYS` | `30` | how long dead letters are kept, 1 to 365 days |
//! | `DEAD_LETTER_COUNT` | `10000` | how many are kept; the oldest are removed |

pub(crate) mod queue;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::{Duration, SystemTime},
};

use tower_breaker::{
    Breaker, FileStore, State, Trip, classify::ServerErrorsAsFailures, health_check::HealthCheck,
};

use self::queue::{Job, Queue, Result, Retention};

const MAX_ATTEMPTS: u32 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match command(&env::args().skip(1).collect::<Vec<_>>()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) async fn command(words: &[String]) -> Result {
    let state = PathBuf::from(setting("STATE_DIR", String::from("worker-state"))?);
    let days = setting("DEAD_LETTER_DAYS", 30)?;
    let retention = Retention::new(days, setting("DEAD_LETTER_COUNT", 10_000)?)?;
    let queue = || {
        let queue = Queue::open(&state.join("queue"), retention)?;
        queue.prune(SystemTime::now())?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(queue)
    };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["add", payloads @ ..] => {
            let queue = queue()?;
            for payload in payloads {
                println!("added job {}", queue.add(payload)?);
            }
        }
        ["run"] => Worker::new(queue()?, &state)?.run().await?,
        ["list"] => queue()?.waiting()?.iter().for_each(|job| println!("{job}")),
        ["dead"] => queue()?.dead()?.iter().for_each(|job| println!("{job}")),
        ["replay", ids @ ..] => replay(&queue()?, ids)?,
        _ => return Err("usage: worker add PAYLOAD.. | list | run | dead | replay [ID ..]".into()),
    }
    Ok(())
}

fn replay(queue: &Queue, ids: &[&str]) -> Result {
    let mut ids = ids.iter().map(|id| id.parse()).collect::<Result<Vec<u64>, _>>()?;
    let all = ids.is_empty();
    for letter in queue.dead()? {
        let id = letter.id;
        if all || ids.contains(&id) {
            queue.put_back(letter)?;
            println!("job {id} put back");
            ids.retain(|other| *other != id);
        }
    }
    if ids.is_empty() { Ok(()) } else { Err(format!("no dead letters: {ids:?}").into()) }
}

/// An environment variable.
fn setting<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    default: T,
) -> Result<T> {
    env::var(name).map_or(Ok(default), |value| {
        value.parse().map_err(|error| format!("{name}={value}: {error}").into())
    })
}

struct Worker {
    queue: Queue,
    breaker: Breaker,
    client: reqwest::Client,
    upstream: String,
    retry_delay: Duration,
}

impl Worker {
    fn new(queue: Queue, state: &std::path::Path) -> Result<Self> {
        let time = |name, default: Duration| setting::<humantime::Duration>(name, default.into());
        let breaker = Breaker::builder("upstream")
            .trip_on(Trip::consecutive_failures(3))
            .recovery_timeout(*time("RECOVERY_TIMEOUT", Duration::from_secs(5))?)
            .store(FileStore::open(state.join("breaker"))?)
            .build()?;
        // The timeout belongs inside the breaker: so it sees an upstream that hangs.
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let upstream = setting("UPSTREAM", String::from("http://127.0.0.1:4000"))?;
        let retry_delay = *time("RETRY_DELAY", Duration::from_millis(100))?;
        Ok(Self { queue, breaker, client, upstream, retry_delay })
    }

    /// Works until the queue is empty.
    async fn run(self) -> Result {
        let (client, url) = (self.client.clone(), format!("{}/health", self.upstream));
        let _check = HealthCheck::new(move || {
            let answer = client.get(&url).send();
            async { answer.await?.error_for_status() }
        })
        .spawn(&self.breaker)?;
        while !self.queue.is_empty() {
            // An outage pauses the queue here.
            let permit = self.breaker.acquire().await;
            let Some((key, mut job)) = self.queue.first()? else {
                permit.cancel();
                break;
            };
            // A server's failure counts for the breaker; a refusal (4xx) is the job's problem.
            let result = permit.call_with(ServerErrorsAsFailures, self.send(&job)).await;
            match result.and_then(reqwest::Response::error_for_status) {
                Ok(_) => {
                    self.queue.done(&key).await?;
                    println!("job {} done", job.id);
                }
                Err(error) => {
                    job.note(error.without_url().to_string(), SystemTime::now());
                    // A failure that opened the circuit is the outage's, not the job's.
                    job.attempts += u32::from(self.breaker.state() == State::Closed);
                    self.failed(&key, &job).await?;
                }
            }
        }
        self.breaker.close().await?;
        Ok(())
    }

    async fn failed(&self, key: &[u8], job: &Job) -> Result {
        if job.attempts >= MAX_ATTEMPTS {
            self.queue.bury(key, job).await?;
            println!("dead letter: {job}");
        } else {
            self.queue.failed(key, job).await?;
            // The job stays the first one, so that the order is kept.
            tokio::time::sleep(self.retry_delay * 2_u32.pow(job.attempts.saturating_sub(1))).await;
        }
        Ok(())
    }

    async fn send(&self, job: &Job) -> reqwest::Result<reqwest::Response> {
        let request = self.client.post(format!("{}/jobs", self.upstream));
        let request =
            request.header("idempotency-key", job.id).header("x-attempt", job.attempts + 1);
        request.body(job.payload.clone()).send().await
    }
}
