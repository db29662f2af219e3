//! A real Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;

use crate::{queries::folder, support::wait::MINUTE};

/// A Prometheus that scrapes the example. Dropped, it is ended.
pub(crate) struct Prometheus {
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
    pub(crate) fn start(target: SocketAddr) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // In seconds what is in minutes otherwise.
        let rules = fs::read_to_string(folder().join("alerts.yml")).unwrap();
        let rules = rules.replace("for: 3m", "for: 2s").replace("for: 5m", "for: 2s");
        let rules = rules.replace("[2m]", "[8s]").replace("[5m]", "[8s]");
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
    pub(crate) async fn until(&self, expr: &str) {
        let began = Instant::now();
        while !self.answers(expr).await {
            assert!(began.elapsed() < MINUTE, "no values: {expr}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether an expression has values. A NaN, as of a quotient of zeros, is none.
    pub(crate) async fn answers(&self, expr: &str) -> bool {
        let Some(answer) = self.get("query", &[("query", expr)]).await else { return false };
        let data = answer.unwrap_or_else(|error| panic!("{expr}: {error}"));
        let values = data["result"].as_array().into_iter().flatten();
        values.filter_map(|sample| sample["value"][1].as_str()).any(|value| value != "NaN")
    }

    /// The expressions of the alerts without their limits, by the names of the alerts.
    pub(crate) async fn alerts(&self) -> BTreeMap<String, String> {
        let rules = self.get("rules", &[]).await.unwrap().unwrap();
        let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
        let text = |rule: &Value, field: &str| rule[field].as_str().unwrap().to_owned();
        let without_limit = |expr: String| {
            let (value, _) = expr.rsplit_once(['>', '<']).expect("a limit at the end");
            value.to_owned()
        };
        let alert = |rule: &Value| (text(rule, "name"), without_limit(text(rule, "query")));
        rules.iter().map(alert).collect()
    }

    /// The names of all metrics that it has read.
    pub(crate) async fn names(&self) -> BTreeSet<String> {
        let known = self.get("label/__name__/values", &[]).await.unwrap().unwrap();
        let known = known.as_array().unwrap().iter().filter_map(Value::as_str);
        known.map(str::to_owned).collect()
    }
}
