//! The table of statuses in the documentation of `classify` says what the classifiers and the
//! presets do.

use tower_breaker::classify::{Classify, GrpcClassifier, GrpcCode, StatusClassifier};

use super::*;

/// What a column says of a status, as far as it can be compared.
#[derive(Debug, PartialEq)]
struct Cell {
    word: &'static str,
    /// With, or after, its `Retry-After`.
    with_delay: bool,
    every_method: bool,
}

/// The lines of a table under this heading, as cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    include_str!("../../src/classify/mod.rs")
        .lines()
        .map(|line| line.strip_prefix("//!").unwrap_or_default().trim())
        .skip_while(|line| *line != heading)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// Whether the first cell of a row names this status: in a list of numbers and ranges.
fn names(list: &str, status: u16) -> bool {
    let number = |text: &str| text.parse::<u16>().ok();
    list.split(", ").any(|item| {
        let (from, to) = item.split_once(" to ").unwrap_or((item, item));
        let range = number(from).zip(number(to));
        range.is_some_and(|(from, to)| (from..=to).contains(&status))
    })
}

fn documented(status: u16) -> [Cell; 5] {
    let table = table("# Statuses");
    let row = table
        .iter()
        .find(|row| names(row[0], status))
        .or_else(|| table.iter().find(|row| row[0] == "all others, 425 among them"));
    let cells = row.expect("a row")[1..].iter().map(|cell| Cell {
        word: cell.split(',').next().expect("a word"),
        with_delay: cell.contains("`Retry-After`"),
        every_method: cell.contains("every method"),
    });
    cells.collect::<Vec<_>>().try_into().expect("five columns")
}

fn word_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure { .. } => "failure",
        Outcome::Throttled { .. } => "throttled",
        _ => "ignored",
    }
}

/// What a classifier makes of a response with this status that asks for a delay.
fn classified(classify: &impl Classify<Response<String>, Infallible>, status: u16) -> Cell {
    let outcome = classify.classify(&Ok(asks(status, "7")));
    let with_delay = outcome.retry_after().is_some();
    Cell { word: word_of(outcome), with_delay, every_method: false }
}

/// What a preset does with it.
async fn retried<P>(policy: P, status: u16) -> Cell
where
    P: Policy<Request<()>, Response<String>, Infallible> + Clone,
{
    let started = Instant::now();
    let answer = move || Ok(asks(status, "20"));
    let (calls, _) = attempts(policy.clone(), get(), answer).await;
    let with_delay = started.elapsed() >= 20 * SECOND * u32::try_from(calls - 1).expect("few");
    let (calls_of_post, _) = attempts(policy, with_method(Method::POST), answer).await;
    Cell {
        word: if calls > 1 { "retried" } else { "returned" },
        with_delay: calls > 1 && with_delay,
        every_method: calls_of_post > 1,
    }
}

#[tokio::test(start_paused = true)]
async fn the_documented_statuses_are_what_classifiers_and_presets_do() {
    for status in 100..=599 {
        let [by_status, grpc, network, rate_limited, database] = documented(status);
        assert_eq!(classified(&StatusClassifier::new(), status), by_status, "{status}");
        assert_eq!(classified(&ServerErrorsAsFailures, status), by_status, "{status}");
        if status != 200 {
            assert_eq!(classified(&GrpcClassifier::new(), status), grpc, "{status}");
        }
        assert_eq!(retried(RetryPolicy::network(), status).await, network, "{status}");
        assert_eq!(retried(RetryPolicy::rate_limited(), status).await, rate_limited, "{status}");
        let by_database = RetryPolicy::database(|_| None);
        assert_eq!(retried(by_database, status).await, database, "{status}");
    }
}

#[test]
fn the_documented_codes_are_what_the_classifier_does() {
    let table = table("# gRPC");
    let row_of = |start: &str| table.iter().find(|row| row[0].contains(start));
    assert!(row_of("`CANCELLED`").is_some(), "the table is read");
    for code in (0..=16).filter_map(GrpcCode::from_number) {
        let row = row_of(&format!("`{code}`")).or_else(|| row_of("all others"));
        let outcome = GrpcClassifier::new().classify_code(code, &http::HeaderMap::new());
        assert_eq!(row.expect("a row")[1], word_of(outcome), "{code}");
    }
}
