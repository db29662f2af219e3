//! Circuit breakers through an outage, with their metrics for Prometheus:
//! `cargo run --example observability`
//!
//! It serves `/metrics` on 127.0.0.1:9464 and calls an upstream of its own on loopback, which is
//! healthy, fails, is healthy again and is slow, half a minute each, until the program is stopped.
//! README.md says how to look at it.
//!
//! Besides a single breaker, there are two groups: `hosts`, of which at most half may be open, and
//! `tenants`, which has fewer breakers than there are tenants.
//!
//! An argument is another address, and a second one the seconds of each phase.
//!
//! The recorder is that of metrics-exporter-prometheus. With OpenTelemetry, install the recorder of
//! metrics-exporter-otel instead: the names and labels are the same.

mod fleet_server;

use std::{
    env,
    error::Error,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use http_body_util::Empty;
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, signal, time::sleep};
use tower::{Layer, ServiceExt};
use tower_breaker::{
    CircuitBreakerLayer, Config, KeyedBreakers, KeyedCircuitBreakerLayer, MemoryStore, Trip,
    Window, classify::ServerErrorsAsFailures, fleet::RedisFleet,
};

pub(crate) use self::fleet_server::FleetServer;

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What the upstream does in each phase.
const SCRIPT: [Phase; 4] = [Phase::Healthy, Phase::Failing, Phase::Healthy, Phase::Slow];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Healthy,
    Failing,
    Slow,
}

const SLOW: Duration = Duration::from_millis(150);

/// How often each client calls.
const INTERVAL: Duration = Duration::from_millis(25);

#[tokio::main]
async fn main() -> Result {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9464".to_owned());
    let seconds = args.next().map_or(Ok(30), |seconds| seconds.parse())?;
    let metrics = install_recorder()?;
    let listener = TcpListener::bind(address).await?;
    println!("metrics: http://{}/metrics", listener.local_addr()?);
    let server = FleetServer::start().await?;
    if server.is_none() {
        println!("without a fleet: redis-server is missing (Debian: apt-get install redis-server)");
    }
    tokio::select! {
        ended = run(listener, metrics, Duration::from_secs(seconds), server) => ended,
        // Returns, so that the server is killed.
        stopped = signal::ctrl_c() => Ok(stopped?),
    }
}

/// Installs the recorder. What it has recorded is read from the handle.
pub(crate) fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    let durations = "circuit_breaker_store_write_duration_seconds".to_owned();
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(durations), &[0.0001, 0.001, 0.01, 0.1, 1.0, 10.0])?
        .install_recorder()
}

/// Serves the metrics, and goes through the script again and again.
pub(crate) async fn run(
    listener: TcpListener,
    metrics: PrometheusHandle,
    each_phase: Duration,
    server: Option<FleetServer>,
) -> Result {
    let fleet = server.as_ref().map(|server| RedisFleet::open(&server.url())).transpose()?;
    let phase = Arc::new(AtomicUsize::new(0));
    let upstream = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", upstream.local_addr()?);
    tokio::spawn(axum::serve(upstream, upstream_routes(&phase)).into_future());
    let routes = Router::new().route("/metrics", get(move || ready(metrics.render())));
    let serve = axum::serve(listener, routes).into_future();
    tokio::select! {
        ended = serve => ended?,
        failed = call_payments(&base, each_phase, fleet) => failed?,
        failed = call_hosts(&base, each_phase) => failed?,
        failed = call_tenants(&base, each_phase) => failed?,
        failed = play(&phase, each_phase, server) => failed?,
    }
    Ok(())
}

/// Goes through the script again and again. While the upstream is slow, the fleet has no server.
async fn play(
    phase: &AtomicUsize,
    each_phase: Duration,
    mut server: Option<FleetServer>,
) -> Result {
    loop {
        for (number, what) in SCRIPT.iter().enumerate() {
            phase.store(number, Relaxed);
            println!("upstream: {what:?}");
            match &mut server {
                Some(server) if *what == Phase::Slow => server.stop().await?,
                Some(server) => server.start_again().await?,
                None => {}
            }
            sleep(each_phase).await;
        }
    }
}

/// `/payments`, the hosts `/hosts/a` to `/hosts/c`, and the tenants `/tenants/1` to `/tenants/3`.
///
/// Of the hosts, `a` has no outage, and `c` has it in three of four calls: so `b` opens first.
fn upstream_routes(phase: &Arc<AtomicUsize>) -> Router {
    let outage = |one_in: usize| {
        let (phase, calls) = (Arc::clone(phase), Arc::new(AtomicUsize::new(0)));
        get(move || {
            let is_spared = calls.fetch_add(1, Relaxed) % one_in == one_in - 1;
            let phase = if is_spared { Phase::Healthy } else { SCRIPT[phase.load(Relaxed)] };
            answer(phase)
        })
    };
    Router::new()
        .route("/payments", outage(usize::MAX))
        .route("/hosts/a", get(StatusCode::OK))
        .route("/hosts/b", outage(usize::MAX))
        .route("/hosts/c", outage(4))
        .route("/tenants/{tenant}", outage(usize::MAX))
}

async fn answer(phase: Phase) -> StatusCode {
    match phase {
        Phase::Healthy => StatusCode::OK,
        Phase::Failing => StatusCode::SERVICE_UNAVAILABLE,
        Phase::Slow => {
            sleep(SLOW).await;
            StatusCode::OK
        }
    }
}

fn config(each_phase: Duration) -> Config {
    let window = Window::time(Duration::from_secs(5));
    let mut config = Config::default();
    config.trip_on = vec![
        Trip::failure_rate(0.5, window).minimum_calls(10),
        Trip::slow_call_rate(0.5, SLOW / 3, window).minimum_calls(10),
    ];
    config.recovery_timeout = each_phase / 8;
    config.success_threshold = 3;
    config
}

fn request(uri: &str) -> Result<Request<Empty<Bytes>>> {
    Ok(Request::get(uri).body(Empty::new())?)
}

/// Calls through a breaker that the replicas share, if there is a fleet.
async fn call_payments(base: &str, each_phase: Duration, fleet: Option<RedisFleet>) -> Result {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut builder = CircuitBreakerLayer::builder("payments")
        .config(config(each_phase))
        .store(MemoryStore::new());
    if let Some(fleet) = fleet {
        builder = builder.shared(fleet);
    }
    let service = builder.build()?.classify(ServerErrorsAsFailures).layer(client);
    loop {
        // Rejections and failures are what this is about.
        tokio::spawn(service.clone().oneshot(request(&format!("{base}/payments"))?));
        sleep(INTERVAL).await;
    }
}

/// At most half of the hosts may be open: while `b` is, `c` stays closed.
async fn call_hosts(base: &str, each_phase: Duration) -> Result {
    let hosts = KeyedBreakers::builder("hosts").config(config(each_phase)).max_open_ratio(0.5);
    call_each(&format!("{base}/hosts/"), ["a", "b", "c"], hosts.metrics_by_key(10).build()?).await
}

/// While the breakers of two tenants are open, the calls of the third one are not recorded.
async fn call_tenants(base: &str, each_phase: Duration) -> Result {
    let mut config = config(each_phase);
    config.trip_on = vec![Trip::consecutive_failures(1)];
    let tenants = KeyedBreakers::builder("tenants").config(config).max_breakers(2);
    call_each(&format!("{base}/tenants/"), ["1", "2", "3"], tenants.build()?).await
}

/// Calls each of these, with the last part of the path as the key.
async fn call_each(base: &str, keys: [&str; 3], breakers: KeyedBreakers) -> Result {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let layer = KeyedCircuitBreakerLayer::by_key(breakers, |request: &Request<Empty<Bytes>>| {
        request.uri().path().rsplit('/').next().map(Into::into)
    });
    let service = layer.classify(ServerErrorsAsFailures).layer(client);
    loop {
        for key in keys {
            tokio::spawn(service.clone().oneshot(request(&format!("{base}{key}"))?));
        }
        sleep(INTERVAL).await;
    }
}
