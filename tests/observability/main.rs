//! The example `observability`, read as Prometheus reads it: every query of the dashboard and every
//! alert names metrics and labels that exist, and answers during the outage.
//!
//! The scrapes are read by a parser of the text format, and, where there is one, by a real
//! Prometheus (Debian: package `prometheus`, which has `promtool` too). Without `promtool`, the
//! test of the alerts is ignored. Without `prometheus`, or for the fleet `redis-server`, the other
//! one passes without what needs it, unless `TOWER_BREAKER_REQUIRE_SERVICES` is set.

#[path = "../../examples/observability/main.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod observability;
mod prometheus;
mod queries;
#[path = "../support/mod.rs"]
mod support;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use prometheus::Prometheus;
use queries::{Query, folder, selectors};
use serde_json::Value;
use support::{redis, skip, wait::MINUTE};
use text::Series;
use tokio::{net::TcpListener, time::sleep};
use tower_breaker::Breaker;

/// How long each phase of the outage takes.
const PHASE: Duration = Duration::from_secs(8);

/// Whether a program is installed. If not, the test is ignored.
fn has(program: &str) -> bool {
    let is_installed = skip::is_installed(program);
    if !is_installed {
        skip::missing(&format!("{program} is missing (Debian's package prometheus)"));
    }
    is_installed
}

#[needs::programs("promtool")]
#[test]
fn the_alerts_pass_their_unit_tests() {
    let promtool = |arguments: &[&str]| {
        let run = Command::new("promtool").args(arguments).current_dir(folder()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
}

#[test]
fn the_dashboard_imports_without_edits() {
    let text = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    // An export for sharing would ask for inputs; a variable chooses the data source instead.
    assert!(dashboard.get("__inputs").is_none());
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty());
    }
    assert!(queries::of_dashboard().len() >= 15);
    // As README.md has them.
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| row["title"].as_str().unwrap()).collect();
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let (_, table) = readme.split_once("| row | answers |\n|---|---|\n").unwrap();
    let in_readme = table.lines().map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    assert_eq!(rows, in_readme.collect::<Vec<_>>());
    assert_eq!(rows.len(), 6);
}

/// What the outage has to show at some moment, besides what the queries are about.
const SHOWN: [&str; 10] = [
    "circuit_breaker_failure_ratio{name=\"payments\"} > 0.4",
    "circuit_breaker_slow_call_ratio{name=\"payments\"} > 0.4",
    "circuit_breaker_calls_total{outcome=\"rejected\"} > 0",
    "circuit_breaker_calls_total{outcome=\"failure\"} > 0",
    "circuit_breaker_probes_total{outcome=\"failure\"} > 0",
    "circuit_breaker_state{name=\"hosts\",key=\"b\",state=\"open\"} > 0",
    "circuit_breaker_transitions_total{to=\"open\",reason=\"failure_rate\"} > 0",
    "circuit_breaker_transitions_total{to=\"closed\",reason=\"probes_succeeded\"} > 0",
    "circuit_breaker_would_trip_total{name=\"hosts\",prevented_by=\"max_open_ratio\"} > 0",
    "circuit_breaker_unrecorded_calls_total{name=\"tenants\"} > 0",
];

/// What is shown about the fleet, if there is one.
const SHOWN_BY_FLEET: [&str; 2] =
    ["circuit_breaker_fleet_joined > 0", "circuit_breaker_fleet_replicas > 0"];

fn shown(has_fleet: bool) -> impl Iterator<Item = &'static str> {
    SHOWN.into_iter().chain(SHOWN_BY_FLEET.into_iter().filter(move |_| has_fleet))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_and_every_alert_answers_during_the_outage() {
    let has_prometheus = has("prometheus");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let recorder = observability::install_recorder().unwrap();
    let has_fleet = redis::is_installed();
    let server = observability::FleetServer::start().await.unwrap();
    assert_eq!(server.is_some(), has_fleet);
    let example = tokio::spawn(observability::run(listener, recorder, PHASE, server));

    let by_prometheus = async {
        if has_prometheus {
            read_by_prometheus(target, has_fleet).await;
        }
    };
    tokio::join!(read_by_parser(target, has_fleet), by_prometheus);
    example.abort();
}

/// Whether the values of the series that an expression selects were ever above its limit.
fn was_above(expr: &str, highest: &BTreeMap<Series, f64>) -> bool {
    let (_, limit) = expr.split_once(" > ").unwrap();
    let (limit, selectors) = (limit.parse().unwrap(), selectors(expr));
    let [selector] = &selectors[..] else { panic!("{expr}") };
    highest.iter().any(|(series, value)| selector.selects(series) && *value > limit)
}

/// Reads the scrapes with a parser until all that the queries name was there.
async fn read_by_parser(target: SocketAddr, has_fleet: bool) {
    let (client, url) = (reqwest::Client::new(), format!("http://{target}/metrics"));
    let scrape = async || {
        let response = client.get(&url).send().await.unwrap();
        let text = String::from_utf8(response.bytes().await.unwrap().into()).unwrap();
        text::parse(&text).unwrap()
    };
    let queries: Vec<Query> =
        queries::of_dashboard().into_iter().chain(queries::of_alerts()).collect();
    assert_eq!(queries.iter().filter(|query| query.is_of_fleet()).count(), 5);
    let mut highest = BTreeMap::new();
    let began = Instant::now();
    loop {
        let scrape = scrape().await;
        for (series, value) in &scrape.values {
            assert!(scrape.is_described(&series.name), "{series:?}");
            let highest = highest.entry(series.clone()).or_insert(*value);
            *highest = highest.max(*value);
        }
        let wanted = queries.iter().filter(|query| has_fleet || !query.is_of_fleet());
        let mut missing: Vec<String> = wanted.flat_map(|query| query.missing(&highest)).collect();
        let not_shown = shown(has_fleet).filter(|expr| !was_above(expr, &highest));
        missing.extend(not_shown.map(str::to_owned));
        if missing.is_empty() {
            break;
        }
        assert!(began.elapsed() < 2 * MINUTE, "never there: {missing:#?}");
        sleep(Duration::from_millis(250)).await;
    }
    // Its end is seen too.
    let [closed] = &selectors("circuit_breaker_state{name=\"payments\",state=\"closed\"}")[..]
    else {
        panic!("one selector")
    };
    loop {
        let values = scrape().await.values;
        if values.iter().any(|(series, value)| closed.selects(series) && *value > 0.0) {
            return;
        }
        assert!(began.elapsed() < 3 * MINUTE, "payments stays open");
        sleep(Duration::from_millis(250)).await;
    }
}

const REPLICA_ALONE: &str = r#"ALERTS{alertname="CircuitBreakerReplicaAlone",alertstate="firing"}"#;

/// The alerts, and the breaker or group, for which the outage goes beyond their limits.
const FIRING: [(&str, &str); 4] = [
    ("CircuitBreakerOpen", "payments"),
    ("CircuitBreakerRejectsCalls", "payments"),
    ("CircuitBreakerOpenLimit", "hosts"),
    ("CircuitBreakerGroupFull", "tenants"),
];

fn alert(title: &str, name: &str) -> String {
    format!(r#"ALERTS{{alertname="{title}",name="{name}",alertstate="firing"}}"#)
}

fn firing(name: &str) -> String {
    alert("CircuitBreakerOpen", name)
}

/// The alert does not fire, and the circuit is in this state.
fn ended(name: &str, state: &str) -> String {
    let state = format!(r#"circuit_breaker_state{{name="{name}",state="{state}"}} == 1"#);
    format!("absent({}) and on() ({state})", firing(name))
}

/// Asks a real Prometheus, until each query has answered and the alerts that fired have ended.
async fn read_by_prometheus(target: SocketAddr, has_fleet: bool) {
    let prometheus = Prometheus::start(target);
    prometheus.until("circuit_breaker_state == 1").await;
    let alerts = prometheus.alerts().await;
    let in_file = queries::of_alerts();
    assert!(alerts.keys().eq(in_file.iter().map(|alert| &alert.title).collect::<BTreeSet<_>>()));
    for Query { title, expr, .. } in &in_file {
        let same = selectors(&alerts[title]) == selectors(expr);
        assert!(same, "the file is read as Prometheus reads it: {title}");
    }
    let mut open: Vec<(String, String)> =
        queries::of_dashboard().into_iter().map(|query| (query.title, query.expr)).collect();
    open.extend(alerts);
    open.retain(|(_, expr)| has_fleet || !expr.contains("circuit_breaker_fleet_"));
    let all: Vec<String> = open.iter().map(|(_, expr)| expr.clone()).collect();

    // A circuit without traffic.
    let recovery = Duration::from_secs(3);
    let quiet = Breaker::builder("quiet").recovery_timeout(recovery).build().unwrap();
    quiet.trip();
    prometheus.until(&firing("quiet")).await;
    prometheus.until(&ended("quiet", "half_open")).await;

    open.extend(FIRING.map(|(title, name)| (format!("{title} fires"), alert(title, name))));
    let alone = "circuit_breaker_fleet_joined == 0 and circuit_breaker_fleet_replicas == 0";
    let by_fleet = [alone, REPLICA_ALONE].into_iter().filter(|_| has_fleet);
    let shown = shown(has_fleet).chain(by_fleet);
    open.extend(shown.map(|expr| (expr.to_owned(), expr.to_owned())));
    // Each has to answer at some moment of the outage.
    let began = Instant::now();
    while !open.is_empty() {
        assert!(began.elapsed() < 2 * MINUTE, "these never answer: {open:#?}");
        let mut left = Vec::new();
        for (title, expr) in open {
            if !prometheus.answers(&expr).await {
                left.push((title, expr));
            }
        }
        open = left;
        sleep(Duration::from_millis(250)).await;
    }
    prometheus.until(&ended("payments", "closed")).await;
    if has_fleet {
        let joined = "circuit_breaker_fleet_joined == 1";
        prometheus.until(&format!("absent({REPLICA_ALONE}) and on() ({joined})")).await;
    }

    let known = prometheus.names().await;
    for selector in all.iter().flat_map(|expr| selectors(expr)) {
        assert!(known.contains(&selector.name), "{selector:?}");
    }
}
