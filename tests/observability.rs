//! The example `observability`, read by a real Prometheus: every query of the dashboard and every
//! alert names metrics that exist, and answers during the outage.
//!
//! It needs the programs `prometheus` and `promtool` (Debian: package `prometheus`), and for the
//! fleet `redis-server`. Where they are missing it passes without what needs them, unless
//! `TOWER_BREAKER_REQUIRE_SERVICES` is 1.

#[path = "../examples/observability/main.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod observability;
#[path = "support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{redis, wait::MINUTE};
use tokio::{net::TcpListener, time::sleep};
use tower_breaker::Breaker;

/// How long each phase of the outage takes.
const PHASE: Duration = Duration::from_secs(8);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability")
}

fn is_installed(program: &str) -> bool {
    let mut run = Command::new(program);
    run.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let Err(missing) = run.status() else { return true };
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{program}: {missing}");
    let required = env::var("TOWER_BREAKER_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
    assert!(!required, "{program} is required and missing: install Debian's package prometheus");
    eprintln!("skipped: {program} is missing (Debian's package prometheus)");
    false
}

#[test]
fn the_alerts_pass_their_unit_tests() {
    if !is_installed("promtool") {
        return;
    }
    let promtool = |arguments: &[&str]| {
        let run = Command::new("promtool").args(arguments).current_dir(folder()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
}

/// The expressions of the dashboard's panels, by the panels' titles.
fn queries() -> Vec<(String, String)> {
    let text = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned()))
    });
    // What Grafana would fill in.
    let filled_in = |expr: String| {
        let expr = expr.replace("$__rate_interval", "10s").replace("$__range", "1h");
        expr.replace("$name", ".*")
    };
    targets.map(|(title, expr)| (title, filled_in(expr))).collect()
}

/// The names of metrics in an expression.
fn names(expr: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expr.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("circuit_breaker_")).collect()
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
    assert!(queries().len() >= 15);
}

/// A Prometheus that scrapes the example. Dropped, it is ended.
struct Prometheus {
    process: Child,
    base: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // In seconds what is in minutes otherwise.
        let rules = fs::read_to_string(folder().join("alerts.yml")).unwrap();
        let rules = rules.replace("for: 2m", "for: 2s").replace("for: 5m", "for: 2s");
        let rules = rules.replace("[5m]", "[8s]");
        fs::write(data.path().join("alerts.yml"), rules).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: tower-breaker\n    static_configs:\n      \
             - targets: [\"{target}\"]\n"
        );
        let path = data.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(data.path().join("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let base = format!("http://127.0.0.1:{port}/api/v1");
        Self { process, base, client: reqwest::Client::new(), _folder: data }
    }

    /// The data of an answer; `None` while Prometheus starts, and an error if it is one.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Result<Value, String>> {
        let mut url = reqwest::Url::parse(&format!("{}/{path}", self.base)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let response = self.client.get(url).send().await.ok()?;
        let answer: Value = serde_json::from_slice(&response.bytes().await.ok()?).ok()?;
        Some(match answer["status"].as_str()? {
            "success" => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        })
    }

    /// Waits until an expression has values.
    async fn until(&self, expr: &str) {
        let began = Instant::now();
        while !self.answers(expr).await {
            assert!(began.elapsed() < MINUTE, "no values: {expr}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether an expression has values. A NaN, as of a quotient of zeros, is none.
    async fn answers(&self, expr: &str) -> bool {
        let Some(answer) = self.get("query", &[("query", expr)]).await else { return false };
        let data = answer.unwrap_or_else(|error| panic!("{expr}: {error}"));
        let values = data["result"].as_array().into_iter().flatten();
        values.filter_map(|sample| sample["value"][1].as_str()).any(|value| value != "NaN")
    }
}

/// The expressions of the alerts without their limits, by the names of the alerts.
async fn alerts(prometheus: &Prometheus) -> BTreeMap<String, String> {
    let rules = prometheus.get("rules", &[]).await.unwrap().unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    let text = |rule: &Value, field: &str| rule[field].as_str().unwrap().to_owned();
    let without_limit = |expr: String| {
        let (value, _) = expr.rsplit_once(['>', '<']).expect("a limit at the end");
        value.to_owned()
    };
    rules.iter().map(|rule| (text(rule, "name"), without_limit(text(rule, "query")))).collect()
}

/// Whether an expression is about a fleet.
fn is_of_fleet(expr: &str) -> bool {
    expr.contains("circuit_breaker_fleet_")
}

const REPLICA_ALONE: &str = r#"ALERTS{alertname="CircuitBreakerReplicaAlone",alertstate="firing"}"#;

fn firing(name: &str) -> String {
    format!(r#"ALERTS{{alertname="CircuitBreakerOpen",name="{name}",alertstate="firing"}}"#)
}

/// The alert does not fire, and the circuit is in this state.
fn ended(name: &str, state: &str) -> String {
    let state = format!(r#"circuit_breaker_state{{name="{name}",state="{state}"}} == 1"#);
    format!("absent({}) and on() ({state})", firing(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_and_every_alert_answers_during_the_outage() {
    if !is_installed("prometheus") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let recorder = observability::install_recorder().unwrap();
    let has_fleet = redis::is_installed();
    let server = observability::FleetServer::start().await.unwrap();
    assert_eq!(server.is_some(), has_fleet);
    let example = tokio::spawn(observability::run(listener, recorder, PHASE, server));
    let prometheus = Prometheus::start(target);

    prometheus.until("circuit_breaker_state == 1").await;
    let mut open = queries();
    let alerts = alerts(&prometheus).await;
    assert_eq!(alerts.len(), 9);
    open.extend(alerts);
    assert_eq!(open.iter().filter(|(_, expr)| is_of_fleet(expr)).count(), 5);
    open.retain(|(_, expr)| has_fleet || !is_of_fleet(expr));
    let all: Vec<String> = open.iter().map(|(_, expr)| expr.clone()).collect();

    // A circuit without traffic.
    let recovery = Duration::from_secs(3);
    let quiet = Breaker::builder("quiet").recovery_timeout(recovery).build().unwrap();
    quiet.trip();
    prometheus.until(&firing("quiet")).await;
    prometheus.until(&ended("quiet", "half_open")).await;

    // What the outage has to show.
    open.push(("payments fires".to_owned(), firing("payments")));
    open.extend(
        [
            "circuit_breaker_failure_ratio{name=\"payments\"} > 0.4",
            "circuit_breaker_slow_call_ratio{name=\"payments\"} > 0.4",
            "circuit_breaker_calls_total{outcome=\"rejected\"} > 0",
            "circuit_breaker_calls_total{outcome=\"failure\"} > 0",
            "circuit_breaker_probes_total{outcome=\"failure\"} > 0",
            "circuit_breaker_state{name=\"hosts\",key=\"b\",state=\"open\"} == 1",
            "circuit_breaker_transitions_total{to=\"open\",reason=\"failure_rate\"} > 0",
            "circuit_breaker_transitions_total{to=\"closed\",reason=\"probes_succeeded\"} > 0",
        ]
        .map(|expr| (expr.to_owned(), expr.to_owned())),
    );
    if has_fleet {
        open.extend(
            [
                "circuit_breaker_fleet_joined == 1",
                "circuit_breaker_fleet_replicas == 1",
                "circuit_breaker_fleet_joined == 0 and circuit_breaker_fleet_replicas == 0",
                REPLICA_ALONE,
            ]
            .map(|expr| (expr.to_owned(), expr.to_owned())),
        );
    }
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

    let known = prometheus.get("label/__name__/values", &[]).await.unwrap().unwrap();
    let known: BTreeSet<_> = known.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for expr in &all {
        let unknown: Vec<_> =
            names(expr).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{expr}: {unknown:?}");
    }
    example.abort();
}
