//! Bodies that stall, on paused time.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use http::Response;
use http_body_util::BodyExt;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep, timeout},
};
use tower_breaker::{OnBodyEnd, State, classify::ServerErrorsAsFailures};

use super::{
    Setup, half_open, respond,
    script::{Data, Pause, Script, Wait},
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

/// Runs a future without a runtime.
fn block_on(future: impl Future<Output = ()>) {
    struct Thread(std::thread::Thread);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Thread(std::thread::current())));
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
}

/// Nothing wakes the reader but the timer.
#[test]
fn a_stall_is_noticed_in_any_runtime_or_none() {
    let read = async || {
        let settle = OnBodyEnd::new().stall_timeout(Duration::from_millis(20));
        let setup = Setup::with(ServerErrorsAsFailures, settle);
        let mut body = setup.body(Script::new([Data("half "), Pause]));
        body.frame().await.unwrap().unwrap();
        let mut next = pin!(body.frame());
        poll_fn(|cx| {
            assert!(next.as_mut().poll(cx).is_pending());
            if setup.counted() == (0, 1) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    let without_timers = tokio::runtime::Builder::new_current_thread().build().unwrap();
    without_timers.block_on(read());
    tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(read());
    tokio::runtime::Runtime::new().unwrap().block_on(read());
    block_on(read());
}

/// Nothing wakes the reader but the timer, and the runtime that has set it has ended.
#[test]
fn a_body_that_moves_to_another_runtime_is_watched_there() {
    type Wait<'a> = &'a mut dyn FnMut(&mut Context<'_>) -> Poll<()>;
    let with_timers = || Builder::new_current_thread().enable_all().build().unwrap();
    let without_timers = || Builder::new_current_thread().build().unwrap();
    let first: [fn() -> Runtime; 2] = [with_timers, without_timers];
    let second: [fn(Wait<'_>); 3] = [
        |wait| Runtime::new().unwrap().block_on(poll_fn(wait)),
        |wait| Builder::new_current_thread().build().unwrap().block_on(poll_fn(wait)),
        |wait| block_on(poll_fn(wait)),
    ];
    for (first, second) in first.iter().flat_map(|first| second.map(|second| (first, second))) {
        let settle = OnBodyEnd::new().stall_timeout(Duration::from_millis(300));
        let setup = Setup::with(ServerErrorsAsFailures, settle);
        let mut body = setup.body(Script::new([Data("half "), Pause]));
        first().block_on(async {
            body.frame().await.unwrap().unwrap();
            let waits = poll_fn(|cx| Poll::Ready(pin!(body.frame()).poll(cx).is_pending()));
            assert!(waits.await);
        });
        second(&mut |cx| {
            assert!(pin!(body.frame()).poll(cx).is_pending());
            if setup.counted() == (0, 1) { Poll::Ready(()) } else { Poll::Pending }
        });
    }
}

/// One timer serves all waits: it is not set anew for each frame.
#[tokio::test(start_paused = true)]
async fn a_long_wait_after_many_short_ones_is_a_stall_at_its_own_time() {
    let setup = setup();
    let steps = (0..20).flat_map(|_| [Wait(A_LITTLE), Data("piece")]);
    let mut body = setup.body(Script::new(steps.chain([Wait(MORE), Data("late")])));
    for _ in 0..20 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(timeout(LESS, body.frame()).await.is_err());
    assert_eq!(setup.counted(), (0, 0));
    assert!(timeout(Duration::from_millis(1500), body.frame()).await.is_err());
    assert_eq!(setup.counted(), (0, 1));
}
