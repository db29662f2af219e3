//! Streams as probes, on the system's clock: what must not happen during a test takes an hour.

use std::{pin::Pin, task::Poll, thread::sleep, time::Duration};

use http::Response;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tokio_test::task;
use tower_breaker::{
    OnBodyEnd, State, Trip, Window,
    body::SlowUntil,
    classify::{GrpcClassifier, ServerErrorsAsFailures},
};

use crate::support::wait::{eventually, eventually_async};

use super::{
    HalfOpen, Setup, Watched, call, half_open, respond,
    script::{Data, Fail, Pause, Script, Step, Wait, next, next_data},
};

const SHORT: Duration = Duration::from_millis(20);
const HOUR: Duration = Duration::from_secs(3600);

type Stream = Watched<Script, ServerErrorsAsFailures>;

fn probe(alive_after: Duration, steps: impl IntoIterator<Item = Step>) -> (HalfOpen, Stream) {
    let half_open = half_open(OnBodyEnd::new().stream_alive_after(alive_after), &[]);
    let body = respond(&half_open.0, Response::new(Script::new(steps))).into_body();
    (half_open, body)
}

/// An event each hour: the slot is released while the reader sleeps.
#[tokio::test]
async fn a_quiet_stream_is_a_success_while_its_reader_waits() {
    let ((layer, _), mut body) = probe(SHORT, [Data("event"), Wait(HOUR), Data("event")]);
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    let reader = tokio::spawn(async move { body.frame().await.is_some() });
    eventually_async("the circuit closes", || layer.breaker().state() == State::Closed).await;
    assert!(!reader.is_finished());
    reader.abort();
}

/// The time needs no tokio runtime, and no timers in one.
#[test]
fn a_quiet_stream_is_a_success_with_any_runtime_and_without_one() {
    let waiting = || {
        let ((layer, _), mut body) = probe(SHORT, [Data("event"), Pause]);
        next_data(&mut body);
        let breaker = layer.breaker().clone();
        let closed = move || breaker.state() == State::Closed;
        (body, closed)
    };
    let (mut body, closed) = waiting();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut body).poll_frame(cx).is_pending());
        if closed() { Poll::Ready(()) } else { Poll::Pending }
    }));

    let (mut body, closed) = waiting();
    let mut task = tokio_test::task::spawn(());
    while !closed() {
        task.enter(|cx, _| assert!(Pin::new(&mut body).poll_frame(cx).is_pending()));
        eventually("the reader is woken", || closed() || task.is_woken());
    }
}

#[test]
fn a_stream_that_is_read_late_is_a_success_when_it_is_read_or_dropped() {
    for is_read in [true, false] {
        let ((layer, _), mut body) = probe(SHORT, [Data("a"), Data("b"), Data("c")]);
        next_data(&mut body);
        assert_eq!(layer.breaker().state(), State::HalfOpen);
        sleep(SHORT);
        if is_read {
            next_data(&mut body);
        } else {
            drop(body);
        }
        assert_eq!(layer.breaker().state(), State::Closed, "{is_read}");
    }
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
    let ((layer, _), mut body) = probe(SHORT, [Data(""), Pause]);
    next_data(&mut body);
    sleep(2 * SHORT);
    task::spawn(()).enter(|cx, _| assert!(Pin::new(&mut body).poll_frame(cx).is_pending()));
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    layer.breaker().try_acquire().unwrap_err();
    drop(body);
    layer.breaker().try_acquire().unwrap().cancel();
}

/// The order in which the reader polls decides, not the time at which it polls.
#[test]
fn an_error_is_a_failure_until_the_stream_counts_as_alive() {
    for alive_after in [HOUR, SHORT] {
        let ((layer, _), mut body) = probe(alive_after, [Data("a"), Fail]);
        next_data(&mut body);
        sleep(SHORT);
        next(&mut body).unwrap().unwrap_err();
        assert_eq!(layer.breaker().state(), State::Open, "{alive_after:?}");
    }
    let ((layer, _), mut body) = probe(SHORT, [Data("a"), Data("b"), Fail]);
    next_data(&mut body);
    sleep(SHORT);
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::Closed);
    next(&mut body).unwrap().unwrap_err();
    assert_eq!(layer.breaker().stats().consecutive_failures(), 0);
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
        let clock = tower_breaker::clock::ManualClock::new();
        let layer = tower_breaker::CircuitBreakerLayer::builder("grpc")
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
        let clock = tower_breaker::clock::ManualClock::new();
        let layer = tower_breaker::CircuitBreakerLayer::builder("hour-long")
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
