//! A restarted server comes back with its breaker still tripped, shown with real processes and real
//! requests: `cargo run --example restart`
//!
//! The program starts itself twice: as an upstream that fails on demand, and as the server of
//! `examples/server.rs`, whose breaker keeps its state in a sled folder. The exit code is 1 if
//! anything differs from what is printed.

#[path = "server.rs"]
#[allow(dead_code, unreachable_pub, reason = "its `main` is for running it alone")]
mod server;

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper::{Response, body::Bytes, header::RETRY_AFTER};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("server") => server::serve().await,
        Some("upstream") => upstream().await,
        _ => run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ncheck failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result {
    let folder = tempfile::tempdir()?;
    let upstream = Process::start("upstream", &[])?;
    let settings = [("UPSTREAM", upstream.url.clone()), ("STATE_DIR", path(folder.path()))];
    let mut demo =
        Demo { began: Instant::now(), server: Process::start("server", &settings)?, upstream };
    demo.healthy().await?;
    let calls = demo.trips().await?;

    // The writer thread saves the transition at once, in some milliseconds, or more on a busy disk.
    tokio::time::sleep(Duration::from_secs(1)).await;
    demo.server.kill()?;
    demo.print("The server is killed with SIGKILL, and restarted.").await;
    demo.server = Process::start("server", &settings)?;

    let wait = demo.is_still_open(calls).await?;
    demo.recovers(calls, wait).await?;
    println!("\nThe breaker remembered.");
    Ok(())
}

struct Demo {
    began: Instant,
    server: Process,
    upstream: Process,
}

impl Demo {
    async fn healthy(&self) -> Result {
        let (upstream, server) = (&self.upstream.url, &self.server.url);
        self.print(&format!("The upstream listens at {upstream}, the server at {server}.")).await;
        let answer = self.server.get("/").await?;
        expect("the healthy upstream answers", answer.status() == StatusCode::OK)?;
        self.print(&format!("A request to the server: {}.", answer.status())).await;
        Ok(())
    }

    /// Returns the number of calls that the upstream got.
    async fn trips(&self) -> Result<u32> {
        self.upstream.get("/fail").await?;
        self.print("The upstream starts to fail.").await;
        for request in 1..=5 {
            let status = self.server.get("/").await?.status();
            expect(
                "the server answers 502 for a failing upstream",
                status == StatusCode::BAD_GATEWAY,
            )?;
            self.print(&format!("Request {request}: {status}.")).await;
        }
        let calls = self.upstream.calls().await?;
        expect("the upstream got all six calls", calls == 6)?;
        let answer = self.server.get("/").await?;
        let unavailable = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        expect("after five failures the circuit is open", unavailable)?;
        let wait = retry_after(&answer)?;
        self.print(&format!("Request 6: {}, Retry-After: {wait}.", answer.status())).await;
        expect("the upstream got no further call", self.upstream.calls().await? == calls)?;
        Ok(calls)
    }

    /// Returns what is left of the open time, in seconds.
    async fn is_still_open(&self, calls: u32) -> Result<u64> {
        let answer = self.server.get("/").await?;
        let unavailable = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        expect("the first response after the restart is a 503", unavailable)?;
        let wait = retry_after(&answer)?;
        expect("Retry-After is what is left of 5 s", (1..=5).contains(&wait))?;
        expect("the upstream got no call", self.upstream.calls().await? == calls)?;
        self.print(&format!("Its first response: {}, Retry-After: {wait}.", answer.status())).await;
        Ok(wait)
    }

    async fn recovers(&self, calls: u32, wait: u64) -> Result {
        self.upstream.get("/heal").await?;
        self.print("The upstream recovers; the open time continues.").await;
        tokio::time::sleep(Duration::from_secs(wait)).await;
        expect("the circuit is half-open after its open time", self.state().await? == "half_open")?;
        self.print("The open time is over.").await;
        let answer = self.server.get("/").await?;
        expect("the probe succeeds", answer.status() == StatusCode::OK)?;
        expect("the circuit is closed", self.state().await? == "closed")?;
        expect("one request was the probe", self.upstream.calls().await? == calls + 1)?;
        self.print(&format!("The next request is the probe: {}.", answer.status())).await;
        Ok(())
    }

    /// Prints a line, with the state of the circuit and the calls to the upstream at this moment.
    async fn print(&self, line: &str) {
        let time = self.began.elapsed().as_secs_f32();
        match self.status().await {
            Ok(status) => println!("{time:5.1} s  {line}\n         {status}"),
            Err(_) => println!("{time:5.1} s  {line}"),
        }
    }

    async fn status(&self) -> Result<String> {
        let breaker = self.breaker().await?;
        let state = breaker["state"].as_str().unwrap_or("unknown");
        let left = match (breaker["open_until"].as_f64(), breaker["saved_at"].as_f64()) {
            (Some(until), Some(now)) => format!(", {:.1} s left", until - now),
            _ => String::new(),
        };
        let failures = &breaker["failure_count"];
        let calls = self.upstream.calls().await?;
        Ok(format!(
            "circuit {state}{left}; consecutive failures: {failures}; calls to upstream: {calls}"
        ))
    }

    async fn state(&self) -> Result<String> {
        Ok(self.breaker().await?["state"].as_str().unwrap_or_default().to_owned())
    }

    async fn breaker(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(self.server.get("/breaker").await?.body())?)
    }
}

fn retry_after(answer: &Response<Bytes>) -> Result<u64> {
    let header = answer.headers().get(RETRY_AFTER).ok_or("a 503 has a Retry-After")?;
    Ok(header.to_str()?.parse()?)
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(what.into()) }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A child process. Dropping it kills the process.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(role: &str, settings: &[(&str, String)]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .env("PORT", "0")
            .envs(settings.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("RUST_LOG").is_some() {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .spawn()?;
        let mut url = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut url)?;
        }
        let process = Self { child, url: url.trim().to_owned() };
        expect(&format!("the {role} starts"), process.url.starts_with("http"))?;
        Ok(process)
    }

    async fn get(&self, path: &str) -> Result<Response<Bytes>> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(format!("{}{path}", self.url).parse()?);
        let (head, body) =
            tokio::time::timeout(Duration::from_secs(30), answer).await??.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// The number of calls that the upstream got.
    async fn calls(&self) -> Result<u32> {
        Ok(String::from_utf8_lossy(self.get("/calls").await?.body()).parse()?)
    }

    /// Sends SIGKILL: no destructor runs, nothing is flushed.
    fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An upstream that counts its calls and fails on demand.
async fn upstream() -> Result {
    let (failing, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let switch = |to: bool| {
        let failing = Arc::clone(&failing);
        get(move || async move { failing.store(to, Ordering::SeqCst) })
    };
    let count = Arc::clone(&calls);
    let router = Router::new()
        .route("/fail", switch(true))
        .route("/heal", switch(false))
        .route("/calls", get(move || async move { count.load(Ordering::SeqCst).to_string() }))
        .route(
            "/",
            get(move || async move {
                calls.fetch_add(1, Ordering::SeqCst);
                if failing.load(Ordering::SeqCst) {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::OK
                }
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
