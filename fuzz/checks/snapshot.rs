//! A snapshot that decodes restores to a breaker that works.

use std::time::Duration;

use tower_breaker::{
    Backoff, Breaker, Config, RampUp, State, Trip, Window, clock::ManualClock, snapshot::Snapshot,
};

use super::traffic;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(snapshot) = Snapshot::from_json(bytes) else { return };
    let json = snapshot.to_json().expect("a decoded snapshot can be encoded");
    assert_eq!(Snapshot::from_json(json.as_bytes()).as_ref(), Ok(&snapshot));
    for config in configs() {
        restore(&snapshot, &config);
    }
}

/// The defaults, a configuration with count windows, and one with time windows and every option.
fn configs() -> [Config; 3] {
    let mut calls = Config::default();
    calls.trip_on = vec![
        Trip::failure_rate(0.5, Window::calls(10)).minimum_calls(4),
        Trip::slow_call_rate(0.8, Duration::from_secs(2), Window::calls(100)),
    ];
    calls.success_threshold = 3;
    calls.half_open_failure_rate = Some(0.5);

    let mut time = Config::default();
    let half_minute = Window::time(Duration::from_secs(30));
    time.trip_on = vec![
        Trip::slow_call_rate(0.8, Duration::from_secs(2), half_minute),
        Trip::failure_rate(0.5, half_minute),
        Trip::consecutive_failures(3),
    ];
    let mut backoff = Backoff::new(2.0, Duration::from_secs(600));
    backoff.jitter = 0.2;
    time.backoff = Some(backoff);
    time.ramp_up = Some(RampUp::new(0.1, Duration::from_secs(20)));
    [Config::default(), calls, time]
}

fn restore(snapshot: &Snapshot, config: &Config) {
    let clock = ManualClock::new();
    let from = |snapshot: &Snapshot| {
        let builder = Breaker::builder("fuzzed").config(config.clone()).clock(clock.clone());
        builder.restore(snapshot.clone()).build().expect("the configuration is valid")
    };
    let breaker = from(snapshot);
    traffic::consistent(&breaker);
    assert_eq!(breaker.state().is_manual(), snapshot.state.is_manual());

    // An immediate restart changes nothing but the jitter of the open time.
    let first = breaker.snapshot();
    let mut again = from(&first).snapshot();
    if config.backoff.is_some_and(|backoff| backoff.jitter > 0.0) {
        again.open_until = first.open_until;
    }
    assert_eq!(again, first);

    traffic::make(&breaker, &clock);
    breaker.reset();
    assert_eq!(breaker.state(), State::Closed);
    traffic::make(&breaker, &clock);
    traffic::make(&from(&breaker.snapshot()), &clock);
}
