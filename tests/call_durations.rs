//! The histogram of durations, as an exporter for Prometheus renders it. A binary of its own: a
//! process has one recorder.
//!
//! Prometheus' own parser checks the text if `promtool` is installed (Debian: package
//! `prometheus`); `TOWER_BREAKER_REQUIRE_SERVICES=1` demands it.

#[path = "support/mod.rs"]
mod support;

use std::{
    io::{ErrorKind, Write},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use support::wait::eventually;
use tower_breaker::{
    Breaker, Config, KeyedBreakers, Outcome, State, Trip, Window, clock::ManualClock,
    config::CallMetrics,
};

const DURATION: &str = "circuit_breaker_call_duration_seconds";

static EXPORTER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let name = Matcher::Full(DURATION.to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(name, &[0.01, 0.1, 1.0]).unwrap();
    builder.install_recorder().unwrap()
});

/// The value of a line of the text.
fn value(suffix: &str, labels: &str) -> Option<f64> {
    let text = EXPORTER.render();
    let line = text.lines().find_map(|line| {
        let rest = line.strip_prefix(DURATION)?.strip_prefix(suffix)?.strip_prefix('{')?;
        rest.strip_prefix(labels)?.strip_prefix("} ")
    })?;
    Some(line.parse().unwrap())
}

/// How many durations are below each bound, and the sum of all.
fn durations(name: &str, outcome: &str) -> Option<([u64; 4], f64)> {
    let labels = format!("name={name:?},outcome={outcome:?}");
    let mut buckets = [0; 4];
    for (count, bound) in buckets.iter_mut().zip(["0.01", "0.1", "1", "+Inf"]) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        {
            *count = value("_bucket", &format!("{labels},le={bound:?}"))? as u64;
        }
    }
    Some((buckets, value("_sum", &labels)?))
}

fn eventually_has(name: &str, outcome: &str, buckets: [u64; 4], sum: f64) {
    eventually(&format!("{name} has its durations of {outcome}"), || {
        durations(name, outcome)
            .is_some_and(|(found, seconds)| found == buckets && (seconds / sum - 1.0).abs() < 0.016)
    });
}

fn with_durations(name: &str, clock: &ManualClock) -> tower_breaker::BreakerBuilder {
    LazyLock::force(&EXPORTER);
    let rule = Trip::failure_rate(0.9, Window::calls(10));
    let builder = Breaker::builder(name).trip_on(rule).clock(clock.clone());
    builder.call_metrics(CallMetrics::Durations)
}

const MILLIS: Duration = Duration::from_millis(1);

#[test]
fn every_admitted_call_has_its_duration_by_outcome() {
    let clock = ManualClock::new();
    let breaker = with_durations("outcomes", &clock).build().unwrap();
    let call = |millis: u32, end: &dyn Fn(tower_breaker::Permit)| {
        let permit = breaker.try_acquire().unwrap();
        clock.advance(MILLIS * millis);
        end(permit);
    };
    for millis in [5, 50, 50, 500, 5000] {
        call(millis, &|permit| permit.success());
    }
    call(20, &|permit| permit.failure());
    call(30, &|permit| permit.finish(Outcome::throttled()));
    call(40, &|permit| permit.ignore());
    call(60, &drop);
    call(0, &|permit| permit.record(Outcome::Success, MILLIS * 200));
    eventually_has("outcomes", "success", [1, 3, 5, 6], 5.805);
    eventually_has("outcomes", "failure", [0, 1, 1, 1], 0.020);
    eventually_has("outcomes", "throttled", [0, 1, 1, 1], 0.030);
    eventually_has("outcomes", "ignored", [0, 1, 1, 1], 0.040);
    eventually_has("outcomes", "cancelled", [0, 1, 1, 1], 0.060);
    assert_eq!(breaker.metrics().unwrap().calls.total(), 10);

    breaker.force_open();
    assert!(breaker.try_acquire().is_err());
    breaker.disable();
    call(7, &|permit| permit.success());
    eventually_has("outcomes", "success", [2, 4, 6, 7], 5.812);
    assert_eq!(durations("outcomes", "rejected"), None, "a rejection takes no time");
    has_valid_text();
}

#[test]
fn a_probe_has_its_duration_too() {
    let clock = ManualClock::new();
    let breaker = with_durations("probes", &clock).half_open_max_calls(3).build().unwrap();
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    assert_eq!(breaker.state(), State::HalfOpen);
    let [abandoned, cancelled, good] = [(); 3].map(|()| breaker.try_acquire().unwrap());
    clock.advance(MILLIS * 50);
    drop(abandoned);
    clock.advance(MILLIS * 60);
    cancelled.cancel();
    clock.advance(MILLIS * 400);
    good.success();
    eventually_has("probes", "cancelled", [0, 1, 2, 2], 0.160);
    eventually_has("probes", "success", [0, 0, 1, 1], 0.510);
}

#[test]
fn a_group_measures_the_calls_of_every_key() {
    LazyLock::force(&EXPORTER);
    let clock = ManualClock::new();
    let config = Config::from_json(r#"{"call_metrics": "durations"}"#).unwrap();
    let builder = KeyedBreakers::builder("keys").config(config).clock(clock.clone());
    let breakers = builder.build().unwrap();
    for key in ["a", "b"] {
        let permit = breakers.get_or_create(key).unwrap().try_acquire().unwrap();
        clock.advance(MILLIS * 50);
        permit.success();
    }
    eventually_has("keys", "success", [0, 2, 2, 2], 0.1);
}

#[test]
fn an_update_chooses_what_is_measured() {
    let clock = ManualClock::new();
    let breaker = with_durations("updated", &clock).build().unwrap();
    let call = || {
        let permit = breaker.try_acquire().unwrap();
        clock.advance(MILLIS * 50);
        permit.success();
    };
    let choose = |call_metrics| {
        let mut config = Config::clone(&breaker.config());
        config.call_metrics = call_metrics;
        breaker.update(config).unwrap();
    };
    call();
    choose(CallMetrics::Counts);
    call();
    choose(CallMetrics::Durations);
    call();
    eventually_has("updated", "success", [0, 2, 2, 2], 0.1);
    assert_eq!(breaker.metrics().unwrap().calls.success, 3);

    breaker.force_open();
    choose(CallMetrics::Off);
    assert_eq!(breaker.metrics(), None);
    choose(CallMetrics::Counts);
    let metrics = breaker.metrics().unwrap();
    assert_eq!(metrics.breakers_in(State::ForcedOpen), 1);
    let before = metrics.calls.success;
    breaker.reset();
    call();
    let metrics = breaker.metrics().unwrap();
    assert_eq!((metrics.calls.success, metrics.breakers_in(State::Closed)), (before + 1, 1));
}

fn has_valid_text() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = match promtool.spawn() {
        Ok(promtool) => promtool,
        Err(missing) => {
            assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
            let required = std::env::var("TOWER_BREAKER_REQUIRE_SERVICES");
            assert!(required.as_deref() != Ok("1"), "promtool is required and missing");
            return;
        }
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(EXPORTER.render().as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
