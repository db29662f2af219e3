//! Bodies that stall, on paused time.

use std::{pin::pin, time::Duration};

use http::Response;
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep, timeout};
use tower_breaker::{OnBodyEnd, State, classify::ServerErrorsAsFailures};

use super::{
    Setup, half_open, respond,
    script::{Data, Script, Wait},
};

const STALL: Duration = Duration::from_secs(10);
const LESS: Duration = Duration::from_secs(9);
const A_LITTLE: Duration = Duration::from_secs(1);
const MORE: Duration = Duration::from_secs(11);

fn setup() -> Setup {
    Setup::with(ServerErrorsAsFailures, OnBodyEnd::new().stall_timeout(STALL))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_a_failure_at_the_timeout_and_its_bytes_still_arrive() {
    let setup = setup();
    let script = Script::new([Data("half "), Wait(3 * STALL), Data("whole"), Wait(MORE)]);
    let mut body = setup.body(script);
    body.frame().await.unwrap().unwrap();
    let waiting = timeout(LESS, body.frame()).await;
    assert!(waiting.is_err());
    assert_eq!(setup.counted(), (0, 0));
    let began = Instant::now();
    let mut rest = pin!(body.collect());
    assert!(timeout(2 * A_LITTLE, &mut rest).await.is_err());
    assert_eq!(setup.counted(), (0, 1));
    assert_eq!(rest.await.unwrap().to_bytes(), "whole");
    assert!(began.elapsed() >= 2 * STALL + A_LITTLE + MORE);
    assert_eq!(setup.counted(), (0, 1), "counted once");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_starts_has_stalled_too() {
    let setup = setup();
    let mut body = setup.body(Script::new([Wait(MORE), Data("whole")]));
    body.frame().await.unwrap().unwrap();
    assert_eq!(setup.counted(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn many_short_pauses_are_not_a_stall() {
    let setup = setup();
    let steps = (0..50).flat_map(|_| [Wait(LESS), Data("piece")]);
    let body = setup.body(Script::new(steps));
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 250);
    assert_eq!(setup.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_a_stall() {
    let setup = setup();
    let mut body = setup.body(Script::new([Data("a"), Wait(LESS), Data("b"), Wait(LESS)]));
    sleep(MORE).await;
    body.frame().await.unwrap().unwrap();
    sleep(MORE).await;
    body.frame().await.unwrap().unwrap();
    sleep(MORE).await;
    assert!(body.frame().await.is_none());
    assert_eq!(setup.counted(), (1, 0));
}

/// The reader polls, does something else, and later finds the piece that arrived meanwhile.
#[tokio::test(start_paused = true)]
async fn a_piece_that_arrives_in_time_and_is_read_late_is_not_a_stall() {
    let setup = setup();
    let mut body = setup.body(Script::new([Wait(LESS), Data("whole")]));
    assert!(timeout(Duration::from_secs(1), body.frame()).await.is_err());
    advance(5 * STALL).await;
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.is_none());
    assert_eq!(setup.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_stall_timeout_a_body_may_take_any_time() {
    let setup = Setup::new();
    let body = setup.body(Script::new([Wait(1000 * STALL), Data("whole")]));
    body.collect().await.unwrap();
    assert_eq!(setup.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endless_stall_timeout_never_fires() {
    let settle = OnBodyEnd::new().stall_timeout(Duration::MAX);
    let setup = Setup::with(ServerErrorsAsFailures, settle);
    let body = setup.body(Script::new([Wait(MORE), Data("whole"), Wait(MORE)]));
    body.collect().await.unwrap();
    assert_eq!(setup.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_stalls_opens_the_circuit_and_its_body_continues() {
    let (layer, _) = half_open(OnBodyEnd::new().stall_timeout(STALL), &[]);
    let script = Script::new([Wait(3 * STALL), Data("whole")]);
    let mut body = respond(&layer, Response::new(script)).into_body();
    assert!(timeout(MORE, body.frame()).await.is_err());
    assert_eq!(layer.breaker().state(), State::Open);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
    assert_eq!(layer.breaker().state(), State::Open);
}

#[test]
fn a_body_that_is_always_ready_needs_no_runtime() {
    let setup = setup();
    let mut body = setup.body(Script::new([Data("whole")]));
    super::script::next_data(&mut body);
    assert!(super::script::next(&mut body).is_none());
    assert_eq!(setup.counted(), (1, 0));
}
