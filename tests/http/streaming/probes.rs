//! Streams as probes.

use std::{
    pin::Pin,
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use http::Response;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tokio_test::task;
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Event, OnBodyEnd, State, Trip, Window,
    body::SlowUntil,
    classify::{GrpcClassifier, ServerErrorsAsFailures},
    clock::ManualClock,
    event::Reason,
};

use crate::support::wait::MINUTE;

use super::{
    HalfOpen, Setup, Watched, call, half_open, new_name, respond,
    script::{Data, Fail, Pause, Script, Step, Wait, next, next_data},
};

const SHORT: Duration = Duration::from_millis(20);
/// A nanosecond less.
const ALMOST: Duration = Duration::from_nanos(19_999_999);
const HOUR: Duration = Duration::from_secs(3600);

type Stream = Watched<Script, ServerErrorsAsFailures>;

fn probe(alive_after: Duration, steps: impl IntoIterator<Item = Step>) -> (HalfOpen, Stream) {
    probe_by(OnBodyEnd::new().stream_alive_after(alive_after), steps)
}

fn probe_by(settings: OnBodyEnd, steps: impl IntoIterator<Item = Step>) -> (HalfOpen, Stream) {
    let half_open = half_open(settings, &[]);
    let body = respond(&half_open.0, Response::new(Script::new(steps))).into_body();
    (half_open, body)
}

fn is_pending(body: &mut Stream) -> bool {
    task::spawn(()).enter(|cx, _| Pin::new(body).poll_frame(cx).is_pending())
}

/// The successful and the failed calls, for the metrics: the call that tripped is one of them.
fn ended(breaker: &Breaker) -> (u64, u64) {
    let calls = breaker.metrics().unwrap().calls;
    assert_eq!((calls.cancelled, calls.ignored), (0, 0));
    (calls.success, calls.failure - 1)
}

/// Breaks after a short open time, by the system's clock. The states that it enters are sent.
fn by_system_clock() -> (CircuitBreakerLayer, Receiver<(State, Reason)>) {
    let (sender, entered) = mpsc::channel();
    let layer = CircuitBreakerLayer::builder(new_name())
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(SHORT)
        .on_event(move |event| {
            if let Event::Transition(transition) = event {
                // After the test, the receiver is gone.
                let _ = sender.send((transition.to, transition.reason));
            }
        })
        .build()
        .unwrap();
    layer.breaker().try_acquire().unwrap().failure();
    (layer, entered)
}

/// The stream is not polled after its first data, in a runtime or without one, and nothing asks the
/// breaker.
#[test]
fn a_stream_is_a_success_at_its_time_while_its_reader_pauses() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for in_runtime in [false, true] {
        let _entered = in_runtime.then(|| runtime.enter());
        let (layer, states) = by_system_clock();
        let settings = OnBodyEnd::new().stream_alive_after(SHORT);
        let layer = layer.classify(ServerErrorsAsFailures).on_body_end(settings);
        let next_state = || states.recv_timeout(MINUTE).expect("a transition without traffic");
        assert_eq!(next_state().0, State::Open);
        assert_eq!(next_state().0, State::HalfOpen);
        let script = Script::new([Data("event"), Pause]);
        let mut body = respond(&layer, Response::new(script)).into_body();
        next_data(&mut body);
        assert_eq!(next_state(), (State::Closed, Reason::ProbesSucceeded));
        drop(body);
        assert_eq!(ended(layer.breaker()), (1, 0));
    }
}

/// As the slow client of a proxy does.
#[test]
fn a_reader_that_pauses_for_longer_than_the_half_open_timeout_does_not_reopen_the_circuit() {
    let ((layer, clock), mut body) = probe(SHORT, [Data("a"), Data("b"), Fail]);
    next_data(&mut body);
    clock.advance(HOUR);
    assert_eq!(layer.breaker().state(), State::Closed);
    assert_eq!(layer.breaker().stats().consecutive_opens(), 0);
    let probes = layer.breaker().metrics().unwrap().probes;
    assert_eq!((probes.success, probes.unfinished), (1, 0));
    next_data(&mut body);
    next(&mut body).unwrap().unwrap_err();
    assert_eq!((layer.breaker().state(), ended(layer.breaker())), (State::Closed, (1, 0)));
}

#[test]
fn a_stream_is_alive_after_five_seconds_by_default() {
    let ((layer, clock), mut body) = probe_by(OnBodyEnd::new(), [Data("a"), Pause]);
    next_data(&mut body);
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    clock.advance(Duration::from_millis(1));
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[test]
fn a_stream_is_alive_once_its_time_has_passed_whether_or_not_it_is_polled() {
    for polls in [false, true] {
        let ((layer, clock), mut body) = probe(SHORT, [Data("a"), Pause]);
        next_data(&mut body);
        let mut poll = || assert!(!polls || is_pending(&mut body));
        clock.advance(ALMOST);
        poll();
        assert_eq!(layer.breaker().state(), State::HalfOpen);
        layer.breaker().try_acquire().unwrap_err();
        clock.advance(Duration::from_nanos(1));
        poll();
        assert_eq!(layer.breaker().state(), State::Closed);
        poll();
        assert_eq!(ended(layer.breaker()), (u64::from(polls), 0), "it is counted when it is seen");
        drop(body);
        assert_eq!(ended(layer.breaker()), (1, 0));
    }
}

#[test]
fn a_stream_that_is_dropped_late_is_a_success() {
    let ((layer, clock), mut body) = probe(SHORT, [Data("a"), Data("b"), Data("c")]);
    next_data(&mut body);
    clock.advance(SHORT);
    drop(body);
    assert_eq!((layer.breaker().state(), ended(layer.breaker())), (State::Closed, (1, 0)));
}

#[test]
fn a_stream_that_is_dropped_too_early_is_cancelled() {
    for alive_after in [HOUR, Duration::MAX] {
        let ((layer, _), mut body) = probe(alive_after, [Data("a"), Data("b"), Data("c")]);
        next_data(&mut body);
        next_data(&mut body);
        layer.breaker().try_acquire().unwrap_err();
        drop(body);
        assert_eq!(layer.breaker().state(), State::HalfOpen);
        layer.breaker().try_acquire().unwrap().cancel();
    }
}

#[test]
fn a_stream_without_data_is_not_alive() {
    let ((layer, clock), mut body) = probe(SHORT, [Data(""), Pause]);
    next_data(&mut body);
    clock.advance(2 * SHORT);
    assert!(is_pending(&mut body));
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    layer.breaker().try_acquire().unwrap_err();
    drop(body);
    layer.breaker().try_acquire().unwrap().cancel();
}

#[test]
fn an_error_is_a_failure_until_the_stream_counts_as_alive() {
    for (alive_after, passes, expected) in
        [(HOUR, SHORT, State::Open), (SHORT, ALMOST, State::Open), (SHORT, SHORT, State::Closed)]
    {
        let ((layer, clock), mut body) = probe(alive_after, [Data("a"), Data("b"), Fail]);
        next_data(&mut body);
        clock.advance(passes);
        next_data(&mut body);
        next(&mut body).unwrap().unwrap_err();
        assert_eq!(layer.breaker().state(), expected, "{alive_after:?}, {passes:?}");
        let failures = u64::from(expected == State::Open);
        assert_eq!(ended(layer.breaker()), (1 - failures, failures));
        assert_eq!(u64::from(layer.breaker().stats().consecutive_failures()), failures);
    }
}

/// Then the response is as good as one that ends.
#[test]
fn a_body_whose_first_data_is_its_last_is_judged_by_its_end() {
    let half_open = || half_open(OnBodyEnd::new().stream_alive_after(Duration::ZERO), &[]).0;
    for (length, expected) in [(3, State::Closed), (4, State::Open)] {
        let layer = half_open();
        let response = Response::builder().header("content-length", length);
        let script = Script::new([Data("abc")]).knowing_its_end();
        next_data(&mut respond(&layer, response.body(script).unwrap()).into_body());
        assert_eq!(layer.breaker().state(), expected, "{length}");
    }
}

#[test]
fn without_a_time_the_first_data_is_enough() {
    let ((layer, _), mut body) = probe(Duration::ZERO, [Data("a"), Pause]);
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[test]
fn a_call_that_is_not_a_probe_waits_for_its_end() {
    let settings = OnBodyEnd::new().stream_alive_after(Duration::ZERO);
    let setup = Setup::with(ServerErrorsAsFailures, settings);
    let mut body = setup.body(Script::new([Data("a"), Data("b"), Fail]));
    next_data(&mut body);
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    next(&mut body).unwrap().unwrap_err();
    assert_eq!(setup.counted(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stall_timeout_that_is_shorter_comes_first() {
    let settings = OnBodyEnd::new().stall_timeout(SHORT).stream_alive_after(HOUR);
    let (layer, _) = half_open(settings, &[]);
    let script = Script::new([Data("a"), Wait(HOUR)]);
    let mut body = respond(&layer, Response::new(script)).into_body();
    next_data(&mut body);
    assert!(timeout(2 * SHORT, body.frame()).await.is_err());
    assert_eq!(layer.breaker().state(), State::Open);
}

/// The head of a gRPC response may precede the work; the first message is the response.
#[test]
fn a_grpc_response_is_answered_with_its_first_message() {
    let slow = Duration::from_secs(2);
    let rule = Trip::slow_call_rate(1.0, slow, Window::calls(10)).minimum_calls(10);
    for (messages, slow_calls) in [(0, 1), (1, 0)] {
        let clock = ManualClock::new();
        let layer = CircuitBreakerLayer::builder("grpc")
            .trip_on(rule)
            .clock(clock.clone())
            .classify(GrpcClassifier::new())
            .on_body_end(OnBodyEnd::new())
            .build()
            .unwrap();
        let script = Script::new([Data("\0\0\0\0\x07message"), Wait(HOUR)]);
        let response = Response::builder().header("content-type", "application/grpc");
        let mut body = call(&layer, Ok(response.body(script).unwrap())).unwrap().into_body();
        for _ in 0..messages {
            next_data(&mut body);
        }
        clock.advance(2 * slow);
        drop(body);
        assert_eq!(layer.breaker().stats().window_slow_calls(), slow_calls, "{messages}");
    }
}

#[test]
fn a_body_that_is_dropped_after_its_head_does_not_count_however_long_it_took() {
    let slow = Duration::from_secs(2);
    let rule = Trip::slow_call_rate(1.0, slow, Window::calls(10)).minimum_calls(10);
    for until in [SlowUntil::Headers, SlowUntil::End] {
        let clock = ManualClock::new();
        let layer = CircuitBreakerLayer::builder("hour-long")
            .trip_on(rule)
            .clock(clock.clone())
            .classify(ServerErrorsAsFailures)
            .on_body_end(OnBodyEnd::new().slow_until(until))
            .build()
            .unwrap();
        for frames in 0..2 {
            let script = Script::new([Data("a"), Data("b")]);
            let mut body = respond(&layer, Response::new(script)).into_body();
            for _ in 0..frames {
                next_data(&mut body);
            }
            clock.advance(Duration::from_secs(3600));
            drop(body);
        }
        assert_eq!(layer.breaker().stats().window_calls(), 0, "{until:?}");
    }
}

#[test]
fn a_body_that_panics_is_a_failure_and_the_panic_propagates() {
    let setup = Setup::new();
    let panicking = Full::new(bytes::Bytes::from_static(b"x")).map_frame(
        |_| -> http_body::Frame<bytes::Bytes> { std::panic::resume_unwind(Box::new("a bug")) },
    );
    let mut body = setup.body(panicking);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = next(&mut body);
    }));
    caught.unwrap_err();
    assert_eq!(setup.counted(), (0, 1));
    drop(body);
    assert_eq!(setup.counted(), (0, 1));
}
