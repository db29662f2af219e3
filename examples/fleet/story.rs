//! What happens, told while it happens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Result,
    process::{Endpoint, Redis, Server},
};

/// How much later than the first replica the others may open.
const TOGETHER: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn tell() -> Result {
    let folder = tempfile::tempdir()?;
    let redis = Redis::start(folder.path())?;
    let upstream = Server::start("upstream", &[])?;
    let start = || {
        let settings = [("REDIS", redis.url.as_str()), ("UPSTREAM", upstream.url.as_str())];
        Server::start("server", &settings)
    };
    let servers = [start()?, start()?, start()?];
    let mut story = Story { began: Instant::now(), redis, upstream, servers };
    story.all_is_well().await?;
    story.trips_together().await?;
    story.one_probe_fails().await?;
    story.one_is_killed().await?;
    story.one_probe_succeeds().await?;
    println!("\nOne tripped, and all were spared; one asked, and all recovered.");
    Ok(())
}

struct Story {
    began: Instant,
    redis: Redis,
    upstream: Server,
    servers: [Server; 3],
}

/// How the servers have answered.
#[derive(Default)]
struct Answers {
    good: u32,
    failed: u32,
    rejected: u32,
}

impl Answers {
    fn note(&mut self, status: StatusCode) {
        match status {
            StatusCode::OK => self.good += 1,
            StatusCode::SERVICE_UNAVAILABLE => self.rejected += 1,
            _ => self.failed += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.failed += other.failed;
        self.rejected += other.rejected;
    }
}

impl Story {
    async fn all_is_well(&self) -> Result {
        let answers = self.call_each().await?;
        expect("all three servers answer", answers.good == 3)?;
        self.print("Three servers share a breaker through Redis, and call one upstream.").await
    }

    async fn trips_together(&self) -> Result {
        let [first, others @ ..] = &self.servers;
        self.upstream.get("/fail").await?;
        for _ in 0..5 {
            let status = first.call().await?.status;
            expect("the upstream's failure is a 502", status == StatusCode::BAD_GATEWAY)?;
        }
        let (state, tripped) = first.state().await?;
        expect("the first server has tripped", state == "open")?;
        let mut latest = tripped;
        for server in others {
            latest = latest.max(self.reaches(server, "open").await?);
        }
        let together = Duration::from_secs_f64(latest - tripped);
        self.print(&format!(
            "The upstream fails five calls of server 1; {together:.1?} later, all are open."
        ))
        .await?;
        expect("all are open within 100 ms of the first", together <= TOGETHER)?;
        let answers = self.call_each().await?;
        expect("all three servers reject", answers.rejected == 3)?;
        expect("the upstream got no further call", self.upstream.calls().await? == 8)
    }

    async fn one_probe_fails(&mut self) -> Result {
        self.upstream.kill()?;
        self.print("The upstream is killed. A call to each server: 503.").await?;
        for server in &self.servers {
            self.reaches(server, "half_open").await?;
        }
        let mut answers = Answers::default();
        let began = Instant::now();
        while answers.failed == 0 && began.elapsed() < PATIENCE {
            let [first, second, third] = &self.servers;
            let (first, second, third) =
                tokio::try_join!(first.call(), second.call(), third.call())?;
            for answer in [first, second, third] {
                answers.note(answer.status);
            }
        }
        for server in &self.servers {
            self.reaches(server, "open").await?;
        }
        expect("one probe failed in all", answers.failed == 1 && answers.good == 0)?;
        let rejected = answers.rejected;
        self.print(&format!(
            "The open time is over, and all three are called: one call was a probe and failed, \
             {rejected} were rejected. All are open again."
        ))
        .await
    }

    async fn one_is_killed(&mut self) -> Result {
        let [_, second, _] = &mut self.servers;
        second.kill()?;
        let settings = [("REDIS", self.redis.url.as_str()), ("UPSTREAM", &self.upstream.url)];
        *second = Server::start("server", &settings)?;
        let answer = second.call().await?;
        let wait = answer.retry_after.unwrap_or_default();
        expect("its first response is a 503", answer.status == StatusCode::SERVICE_UNAVAILABLE)?;
        expect("Retry-After is what is left of 3 s", (1..=3).contains(&wait))?;
        self.print(&format!(
            "Server 2 is killed with SIGKILL, and restarted. Its first response: 503, \
             Retry-After: {wait}."
        ))
        .await
    }

    async fn one_probe_succeeds(&mut self) -> Result {
        let settings = [("PORT", self.upstream.port()), ("COLD", "yes")];
        self.upstream = Server::start("upstream", &settings)?;
        self.print("The upstream is back. It takes calls, and answers once it is warm.").await?;
        let Answers { good, rejected, .. } = self.probe_while_all_ask().await?;
        for server in &self.servers {
            self.reaches(server, "closed").await?;
        }
        expect("the probe succeeds", good == 1)?;
        self.print(&format!("It answers: one call was the probe, {rejected} were rejected."))
            .await?;
        let before = self.upstream.calls().await?;
        expect("one call has reached the upstream, by its own count", before == 1)?;
        let answers = self.call_each().await?;
        expect("all three servers answer again", answers.good == 3)?;
        self.print("A call to each server: 200.").await
    }

    /// All servers are called, again and again, while the one call that the upstream has got waits
    /// for its answer.
    async fn probe_while_all_ask(&self) -> Result<Answers> {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for server in &self.servers {
            callers.spawn(call_until(server.endpoint.clone(), Arc::clone(&is_over)));
        }
        let began = Instant::now();
        while self.upstream.calls().await? == 0 {
            expect("a probe reaches the upstream", began.elapsed() < PATIENCE)?;
            sleep(PAUSE).await;
        }
        sleep(Duration::from_secs(1)).await;
        is_over.store(true, Ordering::SeqCst);
        // The last one waits for the probe.
        let mut answers = Answers::default();
        while let Some(caller) = callers.join_next().await {
            answers.add(&caller??);
            if callers.len() == 1 {
                expect("only the probe has got through", answers.good + answers.failed == 0)?;
                self.upstream.get("/warm").await?;
            }
        }
        Ok(answers)
    }

    /// Makes a call to each server.
    async fn call_each(&self) -> Result<Answers> {
        let mut answers = Answers::default();
        for server in &self.servers {
            answers.note(server.call().await?.status);
        }
        Ok(answers)
    }

    /// Waits for the state, and returns since when it has been so, by the wall clock.
    async fn reaches(&self, server: &Server, expected: &str) -> Result<f64> {
        let began = Instant::now();
        loop {
            let (state, since) = server.state().await?;
            if state == expected {
                return Ok(since);
            }
            expect(&format!("a server becomes {expected}"), began.elapsed() < PATIENCE)?;
            sleep(PAUSE).await;
        }
    }

    /// Prints a line, with the states at this moment.
    async fn print(&self, line: &str) -> Result {
        let time = self.began.elapsed().as_secs_f32();
        let mut states = Vec::new();
        for server in &self.servers {
            states.push(server.state().await?.0);
        }
        let states = states.join(", ");
        let calls = match self.upstream.calls().await {
            Ok(calls) => format!("calls to upstream: {calls}"),
            Err(_) => "upstream gone".to_owned(),
        };
        println!("{time:5.1} s  {line}\n         circuits {states}; {calls}");
        Ok(())
    }
}

/// Calls a server, one call after the other.
async fn call_until(server: Endpoint, is_over: Arc<AtomicBool>) -> Result<Answers> {
    let mut answers = Answers::default();
    while !is_over.load(Ordering::SeqCst) {
        answers.note(server.call().await?.status);
        sleep(PAUSE).await;
    }
    Ok(answers)
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(what.into()) }
}
