//! A waiting caller follows the runtime that polls it: any runtime, another one, or none.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::{runtime, time::timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, BreakerBuilder, CircuitBreakerLayer, Permit, RampUp, State, clock::TokioClock,
};

use super::{OPEN_TIME, alone, quick, trip};

const PATIENCE: Duration = Duration::from_secs(60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(PATIENCE);
        assert!(began.elapsed() < PATIENCE, "nothing woke the caller");
    }
}

/// Polls a future once, in a runtime.
fn poll_once<F: Future>(runtime: &runtime::Runtime, mut future: Pin<&mut F>) -> Poll<F::Output> {
    runtime.block_on(std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))))
}

/// A runtime of either kind.
fn runtimes() -> [runtime::Runtime; 2] {
    let current_thread = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let threads = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    [current_thread, threads.unwrap()]
}

/// Breakers on the system's clock, and on a custom one.
fn breakers() -> [Breaker; 2] {
    let build = |builder: BreakerBuilder| builder.build().unwrap();
    [build(quick("system")), build(quick("custom").clock(TokioClock::new()))]
}

#[test]
fn a_caller_without_a_runtime_is_woken_at_the_end_of_the_open_time() {
    let _alone = alone();
    for breaker in breakers() {
        trip(&breaker);
        let began = Instant::now();
        block_on(breaker.acquire()).success();
        assert!(began.elapsed() >= OPEN_TIME);
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn callers_without_a_runtime_get_through_a_ramp() {
    let _alone = alone();
    let ramp = RampUp::new(0.1, Duration::from_secs(5));
    let breaker = quick("ramp").ramp_up(ramp).build().unwrap();
    trip(&breaker);
    block_on(breaker.acquire()).success();
    assert_eq!(breaker.state(), State::Closed);
    block_on(breaker.acquire()).success();
}

#[test]
fn a_caller_that_moves_to_another_runtime_keeps_waiting_there() {
    let _alone = alone();
    for breaker in breakers() {
        for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            trip(&breaker);
            let mut acquire = pin!(breaker.acquire());
            {
                let first = runtimes().into_iter().nth(first).unwrap();
                assert!(poll_once(&first, acquire.as_mut()).is_pending());
                // Here it ends.
            }
            let second = runtimes().into_iter().nth(second).unwrap();
            let permit = second.block_on(async { timeout(PATIENCE, acquire).await });
            permit.expect("woken in the second runtime").success();
            assert_eq!(breaker.state(), State::Closed);
        }
    }
}

#[test]
fn a_caller_that_leaves_its_runtime_keeps_waiting_without_one() {
    let _alone = alone();
    for breaker in breakers() {
        trip(&breaker);
        let mut acquire = pin!(breaker.acquire());
        {
            let [runtime, _] = runtimes();
            assert!(poll_once(&runtime, acquire.as_mut()).is_pending());
        }
        block_on(acquire).success();
    }
}

#[test]
fn a_runtime_without_timers_suffices() {
    let _alone = alone();
    let breaker = quick("no timers").build().unwrap();
    trip(&breaker);
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(breaker.acquire()).success();
}

#[test]
fn a_backpressured_service_that_moves_to_another_runtime_becomes_ready_there() {
    let _alone = alone();
    for breaker in breakers() {
        trip(&breaker);
        let inner = service_fn(|(): ()| async { Ok::<_, std::io::Error>(()) });
        let mut service = CircuitBreakerLayer::new(breaker).backpressure().layer(inner);
        let [first, second] = runtimes();
        let ready = |service: &mut _| {
            fn poll<S: Service<()>>(service: &mut S, cx: &mut Context<'_>) -> bool {
                service.poll_ready(cx).is_ready()
            }
            first.block_on(std::future::poll_fn(|cx| Poll::Ready(poll(service, cx))))
        };
        assert!(!ready(&mut service));
        drop(first);
        let call = async { service.ready().await.unwrap().call(()).await };
        second.block_on(async { timeout(PATIENCE, call).await }).expect("woken").unwrap();
    }
}

#[test]
fn a_hundred_callers_on_threads_of_their_own_are_all_admitted() {
    let _alone = alone();
    let breaker = quick("threads").build().unwrap();
    trip(&breaker);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| block_on(breaker.acquire()).success());
        }
    });
    assert_eq!(breaker.state(), State::Closed);
}

/// Dropping the wait removes its entry from the thread's queue, and with it the last reference to
/// the task.
#[test]
fn a_cancelled_wait_leaves_nothing_behind() {
    let _alone = alone();
    let breaker = quick("gives up").recovery_timeout(Duration::from_secs(3600)).build().unwrap();
    trip(&breaker);
    let task = Arc::new(Unpark(thread::current()));
    {
        let waker = Waker::from(Arc::clone(&task));
        let mut acquire = Box::pin(breaker.acquire());
        let mut poll = |waker: &Waker| -> Poll<Permit> {
            acquire.as_mut().poll(&mut Context::from_waker(waker))
        };
        assert!(poll(&waker).is_pending());
        assert!(poll(Waker::noop()).is_pending());
        assert!(poll(&waker).is_pending());
        assert!(Arc::strong_count(&task) > 2);
    }
    assert_eq!(Arc::strong_count(&task), 1);
}
