//! A parser of the text format of Prometheus, version 0.0.4. It refuses what the format does not
//! allow.

use std::collections::{BTreeMap, BTreeSet};

/// The name and the labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// What one scrape has read.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) values: BTreeMap<Series, f64>,
    /// What each metric is: `counter`, for instance.
    kinds: BTreeMap<String, String>,
    /// The metrics that are described.
    described: BTreeSet<String>,
}

const KINDS: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

/// Reads a scrape. An error is the line that is wrong, and why.
pub(crate) fn parse(text: &str) -> Result<Scrape, String> {
    let mut scrape = Scrape::default();
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        scrape.read_line(line).map_err(|why| format!("{why}: {line}"))?;
    }
    Ok(scrape)
}

impl Scrape {
    /// Whether every metric has a type and a description.
    pub(crate) fn is_described(&self, name: &str) -> bool {
        let metric = self.metric_of(name);
        self.kinds.contains_key(metric) && self.described.contains(metric)
    }

    /// The metric that a series belongs to: a histogram has several.
    fn metric_of<'a>(&self, name: &'a str) -> &'a str {
        let parts = ["_bucket", "_sum", "_count"];
        let metric = parts.iter().find_map(|part| name.strip_suffix(part));
        let is_histogram = |metric: &&str| {
            self.kinds.get(*metric).is_some_and(|kind| kind == "histogram" || kind == "summary")
        };
        metric.filter(is_histogram).unwrap_or(name)
    }

    fn read_line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(comment) = line.strip_prefix('#') {
            return self.read_comment(comment.trim_start());
        }
        let mut rest = line;
        let name = take_name(&mut rest).ok_or("no name")?.to_owned();
        let labels = match rest.strip_prefix('{') {
            Some(after) => {
                rest = after;
                take_labels(&mut rest)?
            }
            None => BTreeMap::new(),
        };
        let mut words = rest.split_ascii_whitespace();
        let value: f64 = words.next().and_then(|word| word.parse().ok()).ok_or("no value")?;
        let time = words.next().map(str::parse::<i64>);
        if time.is_some_and(|time| time.is_err()) || words.next().is_some() {
            return Err("more than a value and a time");
        }
        let kind = self.kinds.get(self.metric_of(&name)).ok_or("no type before it")?;
        if kind == "counter" && (value.is_nan() || value < 0.0) {
            return Err("a counter cannot have this value");
        }
        if name.ends_with("_bucket") && kind == "histogram" && !labels.contains_key("le") {
            return Err("a bucket without a bound");
        }
        match self.values.insert(Series { name, labels }, value) {
            None => Ok(()),
            Some(_) => Err("the series is there twice"),
        }
    }

    fn read_comment(&mut self, comment: &str) -> Result<(), &'static str> {
        let mut words = comment.splitn(3, ' ');
        let (what, name, text) = (words.next(), words.next(), words.next());
        let is_new = match (what, name, text) {
            (Some("HELP"), Some(name), Some(_)) => self.described.insert(name.to_owned()),
            (Some("TYPE"), Some(name), Some(kind)) if KINDS.contains(&kind) => {
                self.kinds.insert(name.to_owned(), kind.to_owned()).is_none()
            }
            (Some("HELP" | "TYPE"), ..) => return Err("an incomplete comment"),
            _ => true,
        };
        if is_new { Ok(()) } else { Err("the metric is described twice") }
    }
}

fn take_name<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (name, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
    *rest = after;
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

/// Takes what stands after the opening brace, and the closing one.
fn take_labels(rest: &mut &str) -> Result<BTreeMap<String, String>, &'static str> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.trim_start().strip_prefix('}') {
            *rest = after;
            return Ok(labels);
        }
        *rest = rest.trim_start();
        let name = take_name(rest).ok_or("a label without a name")?;
        *rest = rest.strip_prefix("=\"").ok_or("a label without a value")?;
        if labels.insert(name.to_owned(), take_quoted(rest)?).is_some() {
            return Err("a label is there twice");
        }
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("no comma between labels"),
        }
    }
}

/// Takes a text to the closing quote, with what is escaped in it.
fn take_quoted(rest: &mut &str) -> Result<String, &'static str> {
    let mut text = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &rest[at + 1..];
                return Ok(text);
            }
            '\\' => text.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('\\' | '"'))) => escaped,
                _ => return Err("an unknown escape"),
            }),
            other => text.push(other),
        }
    }
    Err("a value without an end")
}

#[test]
fn a_scrape_is_read_with_its_labels() {
    let text = "# HELP calls_total Calls \\\\ ended\n\
                # TYPE calls_total counter\n\
                calls_total{name=\"a\\\"b\\\\c\\n\",outcome=\"success\",} 3\n\
                calls_total{name=\"}, =\"} 0.5 1700000000000\n\
                \n\
                # any comment\n\
                # HELP took_seconds How long it took\n\
                # TYPE took_seconds histogram\n\
                took_seconds_bucket{le=\"+Inf\"} 2\n\
                took_seconds_sum 1e-3\n\
                took_seconds_count 2\n\
                # TYPE ratio gauge\n\
                ratio NaN\n";
    let scrape = parse(text).unwrap();
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let series = |name: &str, labels: &[(String, String)]| Series {
        name: name.to_owned(),
        labels: labels.iter().cloned().collect(),
    };
    let value = |name: &str, labels: &[(String, String)]| scrape.values[&series(name, labels)];
    let calls = [label("name", "a\"b\\c\n"), label("outcome", "success")];
    let values = [
        value("calls_total", &calls),
        value("calls_total", &[label("name", "}, =")]),
        value("took_seconds_bucket", &[label("le", "+Inf")]),
        value("took_seconds_sum", &[]),
    ];
    assert_eq!(values.map(|value| value.to_string()), ["3", "0.5", "2", "0.001"]);
    assert_eq!(scrape.values.len(), 6);
    assert!(scrape.is_described("took_seconds_bucket") && !scrape.is_described("ratio"));
}

#[test]
fn what_the_format_does_not_allow_is_refused() {
    for (line, why) in [
        ("calls{a=\"1\"} 1", "no type before it"),
        ("known{a=\"1\" b=\"2\"} 1", "no comma"),
        ("known{a=\"1\",a=\"2\"} 1", "twice"),
        ("known{a=\"1} 1", "without an end"),
        ("known{a=\"\\t\"} 1", "escape"),
        ("known{a} 1", "without a value"),
        ("known{=\"1\"} 1", "without a name"),
        ("known", "no value"),
        ("known one", "no value"),
        ("known 1 2 3", "more than"),
        ("known -1", "cannot have"),
        ("known 1\nknown 2", "twice"),
        ("9known 1", "no name"),
        ("# TYPE known counter", "twice"),
        ("# TYPE other thing", "incomplete"),
        ("# HELP other", "incomplete"),
        ("# TYPE h histogram\nh_bucket 1", "bound"),
    ] {
        let error = parse(&format!("# TYPE known counter\n{line}\n")).unwrap_err();
        assert!(error.contains(why), "{line}: {error}");
    }
    assert!(parse("# TYPE known counter\nknown 1").is_err(), "cut off");
}
