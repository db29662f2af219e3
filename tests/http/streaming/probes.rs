//! Streams as probes, on paused time.

use std::{pin::pin, time::Duration};

use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::time::{advance, timeout};
use tower_breaker::{
    OnBodyEnd, State, Trip, Window,
    body::SlowUntil,
    classify::{GrpcClassifier, ServerErrorsAsFailures},
};

use super::{
    HalfOpen, Setup, Watched, call, half_open, respond,
    script::{Data, Fail, Script, Step, Wait, next, next_data},
};

const ALIVE: Duration = Duration::from_secs(5);
const LESS: Duration = Duration::from_millis(4900);
const MORE: Duration = Duration::from_millis(5100);
const TEN_MINUTES: Duration = Duration::from_secs(600);

fn probe(
    steps: impl IntoIterator<Item = Step>,
) -> (HalfOpen, Watched<Script, ServerErrorsAsFailures>) {
    let half_open = half_open(OnBodyEnd::new(), &[]);
    let body = respond(&half_open.0, Response::new(Script::new(steps))).into_body();
    (half_open, body)
}

/// An event each ten minutes: the reader sleeps, and the slot is back all the same.
#[tokio::test(start_paused = true)]
async fn a_quiet_stream_proves_alive_while_its_reader_waits() {
    let ((layer, _), mut body) = probe([Data("event"), Wait(TEN_MINUTES), Data("event")]);
    body.frame().await.unwrap().ok().unwrap();
    let mut waiting = pin!(body.frame());
    assert!(timeout(LESS, &mut waiting).await.is_err());
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    assert!(
        timeout(ALIVE.saturating_sub(LESS) + Duration::from_millis(2), &mut waiting).await.is_err()
    );
    assert_eq!(layer.breaker().state(), State::Closed);
    // It is read on as ever, and what it comes to later was not the probe's.
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_proves_alive_with_a_frame() {
    let steps = (0..20).flat_map(|_| [Data("event"), Wait(Duration::from_secs(1))]);
    let ((layer, _), mut body) = probe(steps);
    for second in 0..8 {
        let expected = if second < 6 { State::HalfOpen } else { State::Closed };
        assert_eq!(layer.breaker().state(), expected, "{second}");
        body.frame().await.unwrap().ok().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_proves_alive_when_it_is_read_again_or_dropped() {
    let ((layer, _), mut body) = probe([Data("a"), Data("b"), Data("c")]);
    next_data(&mut body);
    advance(LESS).await;
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    advance(ALIVE.saturating_sub(LESS)).await;
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::Closed);

    let ((layer, _), mut body) = probe([Data("a"), Data("b")]);
    next_data(&mut body);
    advance(ALIVE).await;
    drop(body);
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_too_early_is_cancelled() {
    let ((layer, _), mut body) = probe([Data("a"), Wait(TEN_MINUTES)]);
    next_data(&mut body);
    assert!(timeout(LESS, body.frame()).await.is_err());
    layer.breaker().try_acquire().unwrap_err();
    drop(body);
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    layer.breaker().try_acquire().unwrap().cancel();
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_data_proves_nothing() {
    let ((layer, _), mut body) = probe([Data(""), Wait(TEN_MINUTES), Data("late")]);
    next_data(&mut body);
    assert!(timeout(2 * ALIVE, body.frame()).await.is_err());
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    layer.breaker().try_acquire().unwrap_err();
    drop(body);
    layer.breaker().try_acquire().unwrap().cancel();
}

/// Errors and ends that the reader meets first win, however late it reads them.
#[tokio::test(start_paused = true)]
async fn an_error_is_a_failure_and_an_end_a_success_before_the_time_and_unread_after_it() {
    for late in [Duration::ZERO, LESS, MORE] {
        let ((layer, _), mut body) = probe([Data("a"), Fail]);
        next_data(&mut body);
        advance(late).await;
        assert!(next(&mut body).unwrap().is_err());
        assert_eq!(layer.breaker().state(), State::Open, "{late:?}");

        let ((layer, _), mut body) = probe([Data("a")]);
        next_data(&mut body);
        advance(late).await;
        assert!(next(&mut body).is_none());
        assert_eq!(layer.breaker().state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_after_the_time_is_no_longer_the_probe_s() {
    let ((layer, _), mut body) = probe([Data("a"), Wait(MORE), Fail]);
    next_data(&mut body);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(layer.breaker().state(), State::Closed);
    assert_eq!(layer.breaker().stats().consecutive_failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_can_be_set() {
    for (time, expected) in [
        (Duration::from_secs(1), State::Closed),
        (TEN_MINUTES, State::HalfOpen),
        (Duration::MAX, State::HalfOpen),
    ] {
        let (layer, _) = half_open(OnBodyEnd::new().stream_alive_after(time), &[]);
        let script = Script::new([Data("a"), Wait(TEN_MINUTES)]);
        let mut body = respond(&layer, Response::new(script)).into_body();
        next_data(&mut body);
        assert!(timeout(MORE, body.frame()).await.is_err());
        assert_eq!(layer.breaker().state(), expected, "{time:?}");
    }
    let (layer, _) = half_open(OnBodyEnd::new().stream_alive_after(Duration::ZERO), &[]);
    let script = Script::new([Data("a"), Wait(TEN_MINUTES)]);
    next_data(&mut respond(&layer, Response::new(script)).into_body());
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_no_probe_waits_for_its_end() {
    let setup = Setup::new();
    let mut body = setup.body(Script::new([Data("a"), Wait(TEN_MINUTES), Fail]));
    next_data(&mut body);
    assert!(timeout(MORE, body.frame()).await.is_err());
    assert_eq!(setup.counted(), (0, 0));
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(setup.counted(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stall_timeout_that_is_shorter_comes_first() {
    let settings = OnBodyEnd::new().stall_timeout(Duration::from_secs(2));
    let (layer, _) = half_open(settings, &[]);
    let script = Script::new([Data("a"), Wait(TEN_MINUTES)]);
    let mut body = respond(&layer, Response::new(script)).into_body();
    next_data(&mut body);
    assert!(timeout(ALIVE, body.frame()).await.is_err());
    assert_eq!(layer.breaker().state(), State::Open);
}

/// The head of a gRPC response may precede the work: it answers with its first message.
#[tokio::test(start_paused = true)]
async fn a_grpc_response_is_answered_with_its_first_message() {
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
        let script = Script::new([Data("message"), Wait(TEN_MINUTES)]);
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

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_after_its_head_is_nothing_however_long_it_took() {
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
fn a_body_that_panics_is_a_failure_and_goes_on() {
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

/// Without a runtime there is no timer: the time is checked when the body is polled.
#[test]
fn without_a_runtime_a_stream_is_read_as_ever() {
    let settings = OnBodyEnd::new().stream_alive_after(Duration::from_millis(10));
    let (layer, _) = half_open(settings, &[]);
    let script = Script::new([Data("a"), Data("b"), Data("c")]);
    let mut body = respond(&layer, Response::new(script)).into_body();
    next_data(&mut body);
    std::thread::sleep(Duration::from_millis(20));
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::Closed);
}
