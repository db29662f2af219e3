//! The expressions of the dashboard and the alerts, and what they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::text::Series;

/// What Prometheus adds to each series that it scrapes.
const OF_THE_SCRAPE: [&str; 2] = ["instance", "job"];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability")
}

/// A panel of the dashboard, or an alert.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) title: String,
    pub(crate) expr: String,
    /// The labels that its legend or its annotations name.
    named: BTreeSet<String>,
}

/// The expressions of the dashboard's panels, by the panels' titles.
pub(crate) fn of_dashboard() -> Vec<Query> {
    let text = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title, target))
    });
    // What Grafana would fill in.
    let filled_in = |expr: &str| {
        let expr = expr.replace("$__rate_interval", "10s").replace("$__range", "1h");
        expr.replace("$name", ".*").replace("$job", ".*")
    };
    let query = |(title, target): (&str, &Value)| {
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        Query {
            title: title.to_owned(),
            expr: filled_in(target["expr"].as_str().unwrap()),
            named: between(legend, "{{", "}}").map(|label| label.trim().to_owned()).collect(),
        }
    };
    targets.map(query).collect()
}

/// The alerts, as their file has them.
pub(crate) fn of_alerts() -> Vec<Query> {
    let text = fs::read_to_string(folder().join("alerts.yml")).unwrap();
    let rules = text.split("- alert: ").skip(1);
    let query = |rule: &str| Query {
        title: rule.lines().next().unwrap().to_owned(),
        expr: expr_of(rule),
        named: rule.split("$labels.").skip(1).map(|rest| first_word(rest).to_owned()).collect(),
    };
    rules.map(query).collect()
}

/// The expression of a rule: on one line, or on those that are indented below it.
fn expr_of(rule: &str) -> String {
    let (_, rest) = rule.split_once(" expr: ").expect("an expression");
    let (first, below) = rest.split_once('\n').unwrap();
    if first != ">-" {
        return first.to_owned();
    }
    let depth = |line: &str| line.len() - line.trim_start().len();
    let indented = depth(below);
    let lines = below.lines().take_while(|line| depth(line) >= indented).map(str::trim);
    lines.collect::<Vec<_>>().join(" ")
}

fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(begin).skip(1);
    parts.map(move |part| part.split_once(end).expect("an end").0)
}

fn first_word(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())]
}

/// Series that an expression selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    matchers: Vec<(String, Match, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// In the order in which one could be taken for the begin of another.
const MATCHES: [(&str, Match); 4] =
    [("=~", Match::Regex), ("!~", Match::NotRegex), ("!=", Match::NotEqual), ("=", Match::Equal)];

/// The series of this crate that an expression selects.
pub(crate) fn selectors(expr: &str) -> Vec<Selector> {
    let begins = expr.match_indices("circuit_breaker_").map(|(at, _)| &expr[at..]);
    begins.map(Selector::read).collect()
}

impl Selector {
    fn read(expr: &str) -> Self {
        let name = first_word(expr).to_owned();
        let Some(mut rest) = expr[name.len()..].strip_prefix('{') else {
            return Self { name, matchers: Vec::new() };
        };
        let mut matchers = Vec::new();
        while !rest.starts_with('}') {
            let label = first_word(rest);
            rest = &rest[label.len()..];
            let (text, kind) = MATCHES.iter().find(|(text, _)| rest.starts_with(text)).unwrap();
            let (value, after) =
                rest[text.len()..].strip_prefix('"').unwrap().split_once('"').unwrap();
            matchers.push((label.to_owned(), *kind, value.to_owned()));
            rest = after.trim_start_matches([',', ' ']);
        }
        Self { name, matchers }
    }

    pub(crate) fn selects(&self, series: &Series) -> bool {
        let matches = |(label, kind, wanted): &(String, Match, String)| {
            let value = series.labels.get(label).map_or("", String::as_str);
            match kind {
                Match::Equal => value == wanted,
                Match::NotEqual => value != wanted,
                Match::Regex => is_one_of(value, wanted),
                Match::NotRegex => !is_one_of(value, wanted),
            }
        };
        self.name == series.name && self.matchers.iter().all(matches)
    }
}

/// Whether a value matches such a regular expression as these files have: words, or anything.
fn is_one_of(value: &str, regex: &str) -> bool {
    regex.split('|').any(|word| {
        assert!(word == ".*" || first_word(word) == word, "more than words: {regex}");
        word == ".*" || word == value
    })
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.title, self.expr)
    }
}

impl Query {
    /// Whether it is about a fleet.
    pub(crate) fn is_of_fleet(&self) -> bool {
        self.expr.contains("circuit_breaker_fleet_")
    }

    /// The labels by which it groups, or that are shown, as far as a scrape has them.
    fn labels(&self) -> BTreeSet<&str> {
        let groups = between(&self.expr, "by (", ")").flat_map(|labels| labels.split(", "));
        let labels = groups.chain(self.named.iter().map(String::as_str));
        labels.filter(|label| !OF_THE_SCRAPE.contains(label)).collect()
    }

    /// What it names that is not among the series that were read.
    pub(crate) fn missing(&self, known: &BTreeMap<Series, f64>) -> Vec<String> {
        let selectors = selectors(&self.expr);
        assert!(!selectors.is_empty(), "{self}");
        let is_known = |selector: &&Selector| known.keys().any(|it| selector.selects(it));
        let unknown = selectors.iter().filter(|selector| !is_known(selector));
        let mut missing: Vec<String> =
            unknown.map(|selector| format!("{self}: no series for {selector:?}")).collect();
        for label in self.labels() {
            let has_label = |it: &Series| {
                it.labels.contains_key(label) && selectors.iter().any(|s| s.selects(it))
            };
            if !known.keys().any(has_label) {
                missing.push(format!("{self}: no label {label:?}"));
            }
        }
        missing
    }
}

#[test]
fn what_an_expression_names_and_a_scrape_lacks_is_found() {
    let text = "# TYPE circuit_breaker_state gauge\n\
                circuit_breaker_state{name=\"a\",state=\"open\"} 1\n\
                circuit_breaker_state{name=\"a\",state=\"closed\"} 0\n";
    let known = crate::text::parse(text).unwrap().values;
    let missing = |expr: &str, named: &[&str]| {
        let named = named.iter().map(|label| (*label).to_owned()).collect();
        let query = Query { title: "panel".to_owned(), expr: expr.to_owned(), named };
        query.missing(&known).len()
    };
    for expr in [
        "circuit_breaker_state",
        "sum by (name, state) (circuit_breaker_state) > 0",
        "max by (job) (circuit_breaker_state{name=~\".*\",state=~\"open|half_open\"})",
        "circuit_breaker_state{state!=\"closed\"} or circuit_breaker_state{state!~\"open\"}",
    ] {
        assert_eq!(missing(expr, &["name", "instance"]), 0, "{expr}");
    }
    for expr in [
        "circuit_breaker_states",
        "circuit_breaker_state{state=\"opened\"}",
        "circuit_breaker_state{state=~\"ope|half_open\"}",
        "circuit_breaker_state{state!~\"open|closed\"}",
        "circuit_breaker_state{nome=\"a\"}",
        "sum by (name, key) (circuit_breaker_state)",
        "circuit_breaker_state / circuit_breaker_states",
    ] {
        assert_eq!(missing(expr, &[]), 1, "{expr}");
    }
    assert_eq!(missing("circuit_breaker_state", &["stat"]), 1);
}

/// Two services may have breakers of the same name.
#[test]
fn what_is_added_up_by_name_or_by_store_is_of_one_service() {
    for query in of_dashboard().into_iter().chain(of_alerts()) {
        for labels in between(&query.expr, "by (", ")") {
            let labels: Vec<_> = labels.split(", ").collect();
            let is_of_one = !labels.contains(&"name") && !labels.contains(&"store");
            assert!(is_of_one || labels.contains(&"job"), "{query}");
        }
    }
}

#[test]
fn the_alerts_are_read_from_their_file() {
    let alerts = of_alerts();
    assert_eq!(alerts.len(), 9);
    let open = &alerts[0];
    assert_eq!(open.title, "CircuitBreakerOpen");
    assert_eq!(selectors(&open.expr).len(), 2);
    assert!(open.expr.starts_with("sum by") && open.expr.ends_with("[2m])) > 0"), "{open}");
    assert_eq!(open.labels(), BTreeSet::from(["key", "name"]));
    assert!(alerts.iter().all(|alert| alert.expr.contains(['<', '>'])), "{alerts:#?}");
}
