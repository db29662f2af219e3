//! The time that decides whether a call is slow.

use std::time::Duration;

use http::Response;
use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::{Layer as _, Service};
use tower_breaker::{
    CircuitBreakerLayer, OnBodyEnd, State, Trip, Window, body::SlowUntil,
    classify::ServerErrorsAsFailures, clock::ManualClock, reject::RejectAsError,
};

use super::{
    half_open, respond,
    script::{Data, Fail, Script, next, next_data},
};

const SLOW: Duration = Duration::from_secs(2);

fn slow_calls() -> Trip {
    Trip::slow_call_rate(1.0, SLOW, Window::calls(10)).minimum_calls(10)
}

type Layer = CircuitBreakerLayer<ServerErrorsAsFailures, RejectAsError, OnBodyEnd>;

fn closed(settle: OnBodyEnd) -> (Layer, ManualClock) {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("slow")
        .trip_on(slow_calls())
        .clock(clock.clone())
        .classify(ServerErrorsAsFailures)
        .on_body_end(settle)
        .build()
        .unwrap();
    // Calls are counted only while the window holds a slow one.
    layer.breaker().try_acquire().unwrap().record(tower_breaker::Outcome::Success, 2 * SLOW);
    (layer, clock)
}

/// Makes a call with an immediate head and a body that takes long.
fn long_body(layer: &Layer, clock: &ManualClock, last: Option<super::script::Step>) {
    let script = Script::new([Data("half ")].into_iter().chain(last));
    let mut body = respond(layer, Response::new(script)).into_body();
    next_data(&mut body);
    clock.advance(2 * SLOW);
    let _ = next(&mut body);
}

fn slow(layer: &Layer) -> (u64, u64) {
    let stats = layer.breaker().stats();
    (stats.window_calls() - 1, stats.window_slow_calls() - 1)
}

#[test]
fn a_long_body_is_not_slow_by_default() {
    for settle in [OnBodyEnd::new(), OnBodyEnd::new().slow_until(SlowUntil::Headers)] {
        let (layer, clock) = closed(settle);
        long_body(&layer, &clock, None);
        assert_eq!(slow(&layer), (1, 0));
        long_body(&layer, &clock, Some(Fail));
        assert_eq!(slow(&layer), (2, 0));
    }
}

#[test]
fn a_long_body_is_slow_if_slowness_is_measured_at_its_end() {
    let (layer, clock) = closed(OnBodyEnd::new().slow_until(SlowUntil::End));
    long_body(&layer, &clock, None);
    assert_eq!(slow(&layer), (1, 1));
    long_body(&layer, &clock, Some(Fail));
    assert_eq!(slow(&layer), (2, 2));
}

#[test]
fn a_late_head_is_slow_in_both_modes() {
    for until in [SlowUntil::Headers, SlowUntil::End] {
        let (layer, clock) = closed(OnBodyEnd::new().slow_until(until));
        let late = tower::service_fn(|(): ()| {
            clock.advance(2 * SLOW);
            std::future::ready(Ok::<_, super::Refused>(Response::new(Script::new([]))))
        });
        let mut service = layer.layer(late);
        assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
        let response = assert_ready!(task::spawn(service.call(())).poll());
        assert!(next(&mut response.unwrap().into_body()).is_none());
        assert_eq!(slow(&layer), (1, 1), "{until:?}");
    }
}

#[test]
fn a_probe_with_a_long_body_is_slow_only_if_slowness_is_measured_at_its_end() {
    let ends = [(SlowUntil::Headers, State::Closed), (SlowUntil::End, State::Open)];
    for (until, state) in ends {
        let (layer, clock) = half_open(OnBodyEnd::new().slow_until(until), &[slow_calls()]);
        long_body(&layer, &clock, None);
        assert_eq!(layer.breaker().state(), state, "{until:?}");
    }
}

/// A body that is complete with its head ends then, however late it is read.
#[test]
fn a_probe_with_an_empty_body_is_not_slow() {
    for until in [SlowUntil::Headers, SlowUntil::End] {
        let (layer, clock) = half_open(OnBodyEnd::new().slow_until(until), &[slow_calls()]);
        let empty = Script::new([]).announcing(0);
        let body = respond(&layer, Response::new(empty));
        clock.advance(2 * SLOW);
        drop(body);
        assert_eq!(layer.breaker().state(), State::Closed, "{until:?}");
    }
}

#[test]
fn a_probe_whose_body_exceeds_the_half_open_timeout_opens_the_circuit() {
    // Either it is no stream that proves alive, or it has not begun.
    for (settings, data) in
        [(OnBodyEnd::new().stream_alive_after(Duration::MAX), "half "), (OnBodyEnd::new(), "")]
    {
        let (layer, clock) = half_open(settings, &[]);
        let mut body = respond(&layer, Response::new(Script::new([Data(data)]))).into_body();
        next_data(&mut body);
        clock.advance(Duration::from_secs(60));
        assert_eq!(layer.breaker().state(), State::Open);
        assert!(next(&mut body).is_none());
        assert_eq!(layer.breaker().state(), State::Open);
    }
}
