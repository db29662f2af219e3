//! A restarted server comes back with its breaker still tripped: the whole story on real
//! processes, with real requests. `cargo run --example restart`
//!
//! This program starts itself twice more: as an upstream that can be told to fail, and as the
//! server of `examples/server.rs`, whose breaker keeps its state in a sled folder. It exits with
//! 1 if anything was not as it says.

#[path = "server.rs"]
#[allow(dead_code)] // its `main` is for those who start it alone
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
        _ => story().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nNot so: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn story() -> Result {
    let began = Instant::now();
    let folder = tempfile::tempdir()?;
    let upstream = Process::start("upstream", &[])?;
    let start = || {
        Process::start(
            "server",
            &[
                ("UPSTREAM", &upstream.url),
                ("STATE_DIR", path(folder.path())),
            ],
        )
    };
    let server = start()?;
    let tell = |line: String| println!("{:5.1} s  {line}", began.elapsed().as_secs_f32());

    tell(format!(
        "The upstream runs at {}, the server at {}.",
        upstream.url, server.url
    ));
    let answer = server.get("/").await?;
    expect(
        "the healthy upstream answers",
        answer.status() == StatusCode::OK,
    )?;
    tell(format!(
        "The upstream is healthy: {}. {}",
        answer.status(),
        look(&server, &upstream).await?
    ));

    upstream.get("/fail").await?;
    tell("The upstream begins to fail.".to_owned());
    for request in 1..=5 {
        let answer = server.get("/").await?;
        expect(
            "a failing upstream is a bad gateway",
            answer.status() == StatusCode::BAD_GATEWAY,
        )?;
        tell(format!(
            "Request {request}: {}. {}",
            answer.status(),
            look(&server, &upstream).await?
        ));
    }
    let asked = upstream.calls().await?;
    expect("the upstream saw all six requests", asked == 6)?;
    let answer = server.get("/").await?;
    let wait = retry_after(&answer)?;
    expect(
        "the circuit is open",
        answer.status() == StatusCode::SERVICE_UNAVAILABLE,
    )?;
    tell(format!(
        "Request 6: {}, Retry-After: {wait}. {}",
        answer.status(),
        look(&server, &upstream).await?
    ));

    // Long enough for the write-behind, which is on its way at once.
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill()?;
    tell("The server is killed with SIGKILL, and started again.".to_owned());
    let server = start()?;
    let answer = server.get("/").await?;
    expect(
        "the first answer after the restart is a 503",
        answer.status() == StatusCode::SERVICE_UNAVAILABLE,
    )?;
    let wait = retry_after(&answer)?;
    expect(
        "Retry-After is what is left of 5 s",
        (1..=5).contains(&wait),
    )?;
    expect(
        "the upstream was not asked",
        upstream.calls().await? == asked,
    )?;
    tell(format!(
        "Its first answer: {}, Retry-After: {wait}. {}",
        answer.status(),
        look(&server, &upstream).await?
    ));

    upstream.get("/heal").await?;
    tell("The upstream is healthy again; the open time runs on.".to_owned());
    tokio::time::sleep(Duration::from_secs(wait)).await;
    expect(
        "the circuit is half-open after its open time",
        look(&server, &upstream).await?.contains("half_open"),
    )?;
    tell(format!(
        "The open time is over. {}",
        look(&server, &upstream).await?
    ));
    let answer = server.get("/").await?;
    expect("the probe succeeds", answer.status() == StatusCode::OK)?;
    expect(
        "the circuit is closed",
        look(&server, &upstream).await?.contains("closed"),
    )?;
    tell(format!(
        "The probe: {}. {}",
        answer.status(),
        look(&server, &upstream).await?
    ));
    expect(
        "one request was the probe",
        upstream.calls().await? == asked + 1,
    )?;
    server.kill()?;
    upstream.kill()?;
    println!("\nThe breaker remembered.");
    Ok(())
}

/// The circuit and the upstream in words.
async fn look(server: &Process, upstream: &Process) -> Result<String> {
    let breaker = server.get("/breaker").await?.into_body();
    let breaker: serde_json::Value = serde_json::from_slice(&breaker)?;
    let state = breaker["state"].as_str().unwrap_or("unknown");
    let left = match (breaker["open_until"].as_f64(), breaker["saved_at"].as_f64()) {
        (Some(until), Some(now)) => format!(", {:.1} s left", until - now),
        _ => String::new(),
    };
    let failures = &breaker["failure_count"];
    let calls = upstream.calls().await?;
    Ok(format!(
        "Circuit {state}{left}, {failures} failures in a row; the upstream was asked {calls} times."
    ))
}

fn retry_after(answer: &Response<Bytes>) -> Result<u64> {
    let header = answer
        .headers()
        .get(RETRY_AFTER)
        .ok_or("a 503 has Retry-After")?;
    Ok(header.to_str()?.parse()?)
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(what.into()) }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or("state")
}

/// A child of this program, which ends with it.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(role: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .env("PORT", "0")
            .envs(settings.iter().copied())
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
        let process = Self {
            child,
            url: url.trim().to_owned(),
        };
        expect(
            &format!("the {role} starts"),
            process.url.starts_with("http"),
        )?;
        Ok(process)
    }

    async fn get(&self, path: &str) -> Result<Response<Bytes>> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(format!("{}{path}", self.url).parse()?);
        let (head, body) = tokio::time::timeout(Duration::from_secs(5), answer)
            .await??
            .into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// How often the upstream was asked.
    async fn calls(&self) -> Result<u32> {
        Ok(String::from_utf8_lossy(self.get("/calls").await?.body()).parse()?)
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    fn kill(mut self) -> Result {
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

/// An upstream that counts its calls and fails when told to.
async fn upstream() -> Result {
    let (failing, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let switch = |to: bool| {
        let failing = Arc::clone(&failing);
        get(move || async move { failing.store(to, Ordering::SeqCst) })
    };
    let count = Arc::clone(&calls);
    let router = Router::new()
        .route("/fail", switch(true))
        .route("/heal", switch(false))
        .route(
            "/calls",
            get(move || async move { count.load(Ordering::SeqCst).to_string() }),
        )
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
