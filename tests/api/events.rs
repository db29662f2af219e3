//! Transitions as `tracing` events, for listeners, and for subscribers; the breaker on tokio's
//! paused time, and on an axum router.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::get};
use tower::ServiceExt;
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Event, ManualChange, State, Trip,
    clock::{ManualClock, TokioClock},
    event::{Reason, Transition},
};

use crate::support::log::Log;

fn transition(event: &Event) -> Transition {
    match event {
        Event::Transition(transition) => transition.clone(),
        other => panic!("not a transition: {other:?}"),
    }
}

/// Takes a breaker that opens at the first failure through all its states.
fn visit_all_states(breaker: &Breaker, clock: &ManualClock) {
    breaker.try_acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    breaker.try_acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    breaker.try_acquire().unwrap().success();
    breaker.force_open();
    breaker.reset();
}

/// So that an operator knows what to do about it.
#[test]
fn the_log_line_of_a_probe_that_timed_out_names_the_setting_to_raise() {
    let (log, clock) = (Log::default(), ManualClock::new());
    let builder = Breaker::builder("slow").trip_on(Trip::consecutive_failures(1));
    let breaker = builder.clock(clock.clone()).build().unwrap();
    log.during(|| {
        breaker.try_acquire().unwrap().failure();
        clock.advance(Duration::from_secs(60));
        let probe = breaker.try_acquire().unwrap();
        clock.advance(Duration::from_secs(60));
        assert_eq!(breaker.state(), State::Open);
        drop(probe);
    });
    assert_eq!(log.lines_with("(raise `half_open_timeout`"), 1, "{}", log.text());
    assert_eq!(log.lines_with("half_open -> open"), 1, "{}", log.text());
}

#[test]
fn listeners_receive_every_transition_in_order() {
    let clock = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let breaker = Breaker::builder("heard")
        .trip_on(Trip::consecutive_failures(1))
        .clock(clock.clone())
        .on_event(move |event| listener.lock().unwrap().push(transition(event)))
        .build()
        .unwrap();
    let start = clock.wall();
    visit_all_states(&breaker, &clock);
    let heard = heard.lock().unwrap();
    let steps: Vec<_> = heard.iter().map(|step| (step.from, step.to, step.reason)).collect();
    assert_eq!(
        steps,
        [
            (State::Closed, State::Open, Reason::ConsecutiveFailures),
            (State::Open, State::HalfOpen, Reason::RecoveryTimeout),
            (State::HalfOpen, State::Open, Reason::ProbeFailed),
            (State::Open, State::HalfOpen, Reason::RecoveryTimeout),
            (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
            (State::Closed, State::ForcedOpen, Reason::Manual),
            (State::ForcedOpen, State::Closed, Reason::Reset),
        ]
    );
    assert_eq!(&*heard[0].name, "heard");
    assert_eq!((heard[0].failure_count, heard[0].open_time), (1, Some(Duration::from_secs(60))));
    assert_eq!((heard[1].at, heard[1].open_time), (start + Duration::from_secs(60), None));
    let manual: Vec<_> = heard.iter().map(|transition| transition.manual).collect();
    assert_eq!(manual, [false, false, false, false, false, true, true]);
}

#[test]
fn a_transition_by_time_is_reported_with_its_own_time_however_late() {
    let clock = ManualClock::new();
    let breaker = Breaker::builder("late")
        .trip_on(Trip::consecutive_failures(1))
        .half_open_timeout(Duration::from_secs(30))
        .clock(clock.clone())
        .build()
        .unwrap();
    let mut events = breaker.subscribe();
    let start = clock.wall();
    breaker.try_acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    let _probe = breaker.try_acquire().unwrap();
    clock.advance(Duration::from_secs(3600));
    assert_eq!(breaker.state(), State::HalfOpen);
    let received: Vec<_> = std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| transition(&event))
        .map(|step| (step.reason, step.at.duration_since(start).unwrap().as_secs()))
        .collect();
    assert_eq!(
        received,
        [
            (Reason::ConsecutiveFailures, 0),
            (Reason::RecoveryTimeout, 60),
            (Reason::ProbeTimeout, 90),
            (Reason::RecoveryTimeout, 150),
        ]
    );
}

#[test]
fn a_listener_may_read_and_change_the_breaker() {
    let slot: Arc<Mutex<Option<Breaker>>> = Arc::default();
    let (inside, seen) = (Arc::clone(&slot), Arc::new(Mutex::new(Vec::new())));
    let listener = Arc::clone(&seen);
    let breaker = Breaker::builder("asked")
        .trip_on(Trip::consecutive_failures(1))
        .on_event(move |event| {
            listener.lock().unwrap().push(transition(event).to);
            let breaker = inside.lock().unwrap().clone().unwrap();
            if breaker.state() == State::Open {
                breaker.reset();
            }
        })
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(breaker.clone());
    breaker.try_acquire().unwrap().failure();
    assert_eq!(*seen.lock().unwrap(), [State::Open, State::Closed]);
    slot.lock().unwrap().take();
}

#[test]
fn a_listener_that_panics_keeps_receiving_events() {
    let heard = Arc::new(Mutex::new(0));
    let listener = Arc::clone(&heard);
    let breaker = Breaker::builder("panics")
        .on_event(move |_| {
            *listener.lock().unwrap() += 1;
            assert!(*listener.lock().unwrap() > 1, "the first event");
        })
        .build()
        .unwrap();
    breaker.force_open();
    breaker.reset();
    assert_eq!(*heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner), 2);
}

#[test]
fn every_transition_is_one_log_line_at_info() {
    let clock = ManualClock::new();
    let builder = Breaker::builder("logged").trip_on(Trip::consecutive_failures(1));
    let breaker = builder.clock(clock.clone()).build().unwrap();
    let log = Log::default();
    log.during(|| visit_all_states(&breaker, &clock));
    let log = log.text();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 7, "{log}");
    assert!(
        lines.iter().all(|line| line.trim_start().starts_with("INFO tower_breaker: ")),
        "{log}"
    );
    for part in [
        r#"circuit breaker "logged": closed -> open"#,
        r#"name="logged""#,
        r#"from="closed""#,
        r#"to="open""#,
        r#"reason="consecutive_failures""#,
        "failure_count=1",
        "open_time=60s",
        "manual=false",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    assert!(lines[6].contains("forced_open -> closed by hand"), "{}", lines[6]);
    assert!(lines[6].contains("manual=true"), "{}", lines[6]);
}

#[test]
fn the_log_says_who_made_a_change_by_hand_and_escapes_the_note() {
    let change = || ManualChange::new().by("on-call").note("bad deploy\n\u{1b}[2Jforged line");
    let log = Log::default();
    let breaker = Breaker::builder("touched").build().unwrap();
    log.during(|| {
        breaker.force_open_with(change().lasting(Duration::from_secs(60)));
        breaker.reset();
    });
    let log = log.text();
    let [forced, reset] = log.lines().collect::<Vec<_>>()[..] else { panic!("{log}") };
    assert!(forced.contains(r#" by="on-call""#), "{forced}");
    assert!(forced.contains(r#" note="bad deploy\n\u{1b}[2Jforged line""#), "{forced}");
    assert!(forced.contains(" manual_time=60s"), "{forced}");
    assert!(!reset.contains("on-call") && !reset.contains("note"), "{reset}");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_follows_the_paused_time_of_tokio() {
    let breaker = Breaker::builder("paused")
        .trip_on(Trip::consecutive_failures(1))
        .clock(TokioClock::new())
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    tokio::time::advance(Duration::from_millis(59_999)).await;
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after(), Some(Duration::from_millis(1)));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(breaker.state(), State::HalfOpen);
}

/// A router, a route and a nested service take the layer without an error handler.
#[tokio::test]
async fn the_http_layer_fits_an_axum_router_without_an_error_handler() {
    let layer = CircuitBreakerLayer::builder("axum")
        .trip_on(Trip::consecutive_failures(2))
        .clock(ManualClock::new())
        .http()
        .build()
        .unwrap();
    let ask = |router: &Router, path: &str| {
        router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap())
    };
    let nested = Router::new()
        .route("/fails", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
        .layer(layer.clone());
    let router = Router::new()
        .route("/single", get(|| async { "well" }).layer(layer.clone()))
        .nest("/nested", nested);
    for _ in 0..5 {
        let answer = ask(&router, "/nested/missing").await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(layer.breaker().stats().consecutive_failures(), 0);
    for _ in 0..2 {
        let answer = ask(&router, "/nested/fails").await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    for path in ["/single", "/nested/missing"] {
        let answer = ask(&router, path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "60");
    }
    layer.breaker().reset();
    assert_eq!(ask(&router, "/single").await.unwrap().status(), StatusCode::OK);
}
