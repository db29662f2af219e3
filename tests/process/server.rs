//! The server that the tests start as a child process, and requests to it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::get};
use tower_breaker::{Breaker, CircuitBreakerLayer, SledStore, store::StoreHealth};

use super::trouble::Trouble;
use crate::support::{
    child::{Process, Role, RoleResult, argument, say},
    log::Log,
    wait::{MINUTE, eventually},
};

pub(crate) const SERVER: &str = "server";

/// A server process.
pub(crate) struct Server {
    process: Process,
    address: String,
}

impl Server {
    pub(crate) fn start(folder: &Path, recovery: Duration) -> Self {
        Self::start_as(Role::new(SERVER), folder, recovery)
    }

    pub(crate) fn start_as(role: Role, folder: &Path, recovery: Duration) -> Self {
        let role = role.argument("FOLDER", folder);
        let mut process = role.argument("RECOVERY_MS", recovery.as_millis().to_string()).start();
        let address = process.line().expect("the server says its address");
        Self { process, address }
    }

    /// Starts a server that has read what was stored. On a busy machine, a server without this
    /// wait may have started without its store.
    pub(crate) fn start_again(folder: &Path, recovery: Duration) -> Self {
        let server = Self::start(folder, recovery);
        if server.get("/trouble").2 == "true" {
            server.flush();
        }
        server
    }

    pub(crate) fn kill(self) {
        self.process.kill();
    }

    /// The status, the head in lower case, and the body of the response.
    pub(crate) fn get(&self, path: &str) -> (u16, String, String) {
        get_from(&self.address, path)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn status(&self, path: &str) -> u16 {
        self.get(path).0
    }

    /// Makes the circuit trip.
    pub(crate) fn trip(&self) {
        for _ in 0..5 {
            assert_eq!(self.status("/fail"), 500);
        }
        assert_eq!(self.status("/ok"), 503);
    }

    /// Waits until the present state is durable.
    pub(crate) fn flush(&self) {
        eventually("the state is durable", || self.status("/flush") == 200);
    }

    /// How many calls reached the service behind the breaker.
    pub(crate) fn calls(&self) -> u32 {
        self.get("/calls").2.parse().unwrap()
    }

    pub(crate) fn state(&self) -> String {
        let snapshot: serde_json::Value = serde_json::from_str(&self.get("/snapshot").2).unwrap();
        snapshot["state"].as_str().unwrap().to_owned()
    }

    /// The health of the store: `Healthy`, or `Degraded` with the reason.
    pub(crate) fn health(&self) -> String {
        self.get("/health").2
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        self.get("/log").2
    }
}

/// Makes an HTTP/1.1 request without a client library, which could hide something.
pub(crate) fn get_from(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(MINUTE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// The role of the server: `/ok`, `/slow` and `/fail` are behind the breaker.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve() -> RoleResult {
    // In memory: a killed process cannot clean up a file.
    let log = Log::default();
    tracing::subscriber::set_global_default(log.subscriber())?;

    let trouble = Trouble::default();
    let layer = CircuitBreakerLayer::builder("upstream")
        .on_event(trouble.listener())
        .recovery_timeout(Duration::from_millis(argument("RECOVERY_MS").parse()?))
        .flush_interval(Duration::from_millis(50))
        .store(SledStore::open(argument("FOLDER"))?)
        .http()
        .build()?;
    let breaker = layer.breaker().clone();
    let calls = Arc::new(AtomicU32::new(0));
    let upstream = |status: StatusCode, pause: u64| {
        let calls = Arc::clone(&calls);
        get(move || async move {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            status
        })
    };
    let router = Router::new()
        .route("/ok", upstream(StatusCode::OK, 0))
        .route("/slow", upstream(StatusCode::OK, 500))
        .route("/fail", upstream(StatusCode::INTERNAL_SERVER_ERROR, 0))
        .route_layer(layer)
        .merge(observers(breaker, trouble, log, Arc::clone(&calls)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    say(&listener.local_addr()?.to_string());
    Ok(axum::serve(listener, router).await?)
}

/// Routes for the tests, which no breaker guards.
fn observers(breaker: Breaker, trouble: Trouble, log: Log, calls: Arc<AtomicU32>) -> Router {
    let (shown, flushed, healthy) = (breaker.clone(), breaker.clone(), breaker);
    Router::new()
        .route("/calls", get(move || async move { calls.load(Ordering::SeqCst).to_string() }))
        .route("/snapshot", get(move || async move { Json(shown.snapshot()) }))
        .route("/health", get(move || async move { describe(&healthy.store_health()) }))
        .route("/trouble", get(move || async move { trouble.was_there().to_string() }))
        .route("/log", get(move || async move { log.text() }))
        .route(
            "/flush",
            get(move || async move {
                match flushed.flush().await {
                    Ok(()) => StatusCode::OK,
                    Err(_) => StatusCode::INSUFFICIENT_STORAGE,
                }
            }),
        )
}

fn describe(health: &StoreHealth) -> String {
    match health {
        StoreHealth::Degraded { reason, .. } => format!("Degraded: {reason}"),
        other => format!("{other:?}"),
    }
}
