//! A gRPC message may come in many frames. Its first bytes do not show that the dependency works.

use std::time::Duration;

use http::Response;
use tower_breaker::{
    CircuitBreakerLayer, OnBodyEnd, State, Trip, Window, classify::GrpcClassifier,
    clock::ManualClock,
};

use super::{
    call, half_open,
    script::{Data, Pause, Script, next_data},
};

/// A message of ten bytes in three frames, and then nothing.
fn in_three_frames(media_type: &str) -> Response<Script> {
    let script = Script::new([Data("\0\0\0"), Data("\0\x0aone, t"), Data("wo.."), Pause]);
    Response::builder().header("content-type", media_type).body(script).unwrap()
}

#[test]
fn a_probe_is_alive_from_the_end_of_its_first_message() {
    for media_type in ["application/grpc", "application/grpc+proto"] {
        let (layer, _) = half_open(OnBodyEnd::new().stream_alive_after(Duration::ZERO), &[]);
        let layer = layer.classify(GrpcClassifier::new());
        let mut body = call(&layer, Ok(in_three_frames(media_type))).unwrap().into_body();
        for frame in 1..=3 {
            assert_eq!(layer.breaker().state(), State::HalfOpen, "{media_type} {frame}");
            next_data(&mut body);
        }
        assert_eq!(layer.breaker().state(), State::Closed, "{media_type}");
    }
}

#[test]
fn a_call_that_is_dropped_within_its_first_message_is_abandoned() {
    let slow = Duration::from_secs(2);
    let rule = Trip::slow_call_rate(1.0, slow, Window::calls(10)).minimum_calls(10);
    for (frames, slow_calls) in [(0, 1), (1, 1), (2, 1), (3, 0)] {
        let clock = ManualClock::new();
        let layer = CircuitBreakerLayer::builder("grpc")
            .trip_on(rule)
            .clock(clock.clone())
            .classify(GrpcClassifier::new())
            .on_body_end(OnBodyEnd::new())
            .build()
            .unwrap();
        let response = in_three_frames("application/grpc");
        let mut body = call(&layer, Ok(response)).unwrap().into_body();
        for _ in 0..frames {
            next_data(&mut body);
        }
        clock.advance(2 * slow);
        drop(body);
        assert_eq!(layer.breaker().stats().window_slow_calls(), slow_calls, "{frames} frames");
    }
}
