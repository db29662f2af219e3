use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use tokio::time::{Instant, advance, sleep, timeout};
use tokio_test::{assert_pending, assert_ready, task};
use tower_breaker::{Breaker, RampUp, State, clock::ManualClock};

use crate::waiting::{OPEN_TIME, quick, trip};

fn breaker() -> Breaker {
    quick(Breaker::builder("waiting")).build().expect("a breaker")
}

#[tokio::test(start_paused = true)]
async fn a_closed_circuit_admits_all_callers_at_once() {
    let breaker = breaker();
    let (first, second) = (breaker.acquire().await, breaker.acquire().await);
    first.success();
    second.success();
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_exactly_until_the_open_time_is_over() {
    let breaker = breaker();
    trip(&breaker);
    let began = Instant::now();
    breaker.acquire().await.success();
    let waited = began.elapsed();
    // Timers of tokio have a resolution of a millisecond.
    assert!(waited >= OPEN_TIME && waited < OPEN_TIME + Duration::from_millis(5), "{waited:?}");
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_tokios_timers_do_not_follow_is_looked_at_each_second() {
    let clock = ManualClock::new();
    let breaker = quick(Breaker::builder("waiting")).clock(clock.clone()).build().expect("valid");
    trip(&breaker);
    let began = Instant::now();
    let mut waiting = task::spawn(breaker.acquire());
    assert_pending!(waiting.poll());
    // As after a suspend, which tokio's timers do not count.
    clock.advance(OPEN_TIME);
    waiting.await.success();
    let waited = began.elapsed();
    assert!(waited <= Duration::from_millis(1005), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_are_admitted_as_probes_one_at_a_time_in_order() {
    let breaker = breaker();
    trip(&breaker);
    let mut waiting: Vec<_> = (0..4).map(|_| task::spawn(breaker.acquire())).collect();
    for task in &mut waiting {
        assert_pending!(task.poll());
    }
    advance(OPEN_TIME).await;
    assert_eq!(woken(&waiting), [true, false, false, false]);
    let probe = assert_ready!(waiting[0].poll());
    assert_eq!(woken(&waiting[1..]), [false, false, false]);
    // The slot of an ignored probe goes to the next caller.
    probe.ignore();
    assert_eq!(woken(&waiting[1..]), [true, false, false]);
    let probe = assert_ready!(waiting[1].poll());
    // So does that of a dropped probe.
    drop(probe);
    assert_eq!(woken(&waiting[2..]), [true, false]);
    // The circuit closes and admits all callers.
    assert_ready!(waiting[2].poll()).success();
    assert_eq!(woken(&waiting[3..]), [true]);
    assert_ready!(waiting[3].poll()).success();
}

fn woken<F: Future>(tasks: &[task::Spawn<F>]) -> Vec<bool> {
    tasks.iter().map(task::Spawn::is_woken).collect()
}

#[tokio::test(start_paused = true)]
async fn a_notified_caller_that_stops_waiting_notifies_the_next() {
    let breaker = breaker();
    trip(&breaker);
    let mut first = task::spawn(breaker.acquire());
    let mut second = task::spawn(breaker.acquire());
    let mut third = task::spawn(breaker.acquire());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    advance(OPEN_TIME).await;
    let probe = assert_ready!(first.poll());
    probe.ignore();
    assert!(second.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert_ready!(third.poll()).success();
}

#[tokio::test(start_paused = true)]
async fn another_caller_takes_over_the_timer_when_its_owner_is_dropped() {
    let breaker = breaker();
    trip(&breaker);
    let mut first = task::spawn(breaker.acquire());
    let mut second = task::spawn(breaker.acquire());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    advance(OPEN_TIME).await;
    assert!(second.is_woken());
    assert_ready!(second.poll()).success();
}

#[tokio::test(start_paused = true)]
async fn a_timer_owner_that_is_never_polled_again_blocks_no_other_caller() {
    let breaker = breaker();
    trip(&breaker);
    let mut stuck = task::spawn(breaker.acquire());
    assert_pending!(stuck.poll());
    let began = Instant::now();
    breaker.acquire().await.success();
    assert!(began.elapsed() < OPEN_TIME + Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_notified_caller_that_is_never_polled_blocks_no_other_caller() {
    let breaker = breaker();
    trip(&breaker);
    let mut probing = task::spawn(breaker.acquire());
    let mut stuck = task::spawn(breaker.acquire());
    assert_pending!(probing.poll());
    assert_pending!(stuck.poll());
    let last = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.acquire().await.success() }
    });
    sleep(OPEN_TIME).await;
    assert_ready!(probing.poll()).ignore();
    assert!(stuck.is_woken());
    timeout(Duration::from_secs(3), last).await.expect("in time").expect("no panic");
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_ends_does_not_block_waiting_callers_forever() {
    let builder = quick(Breaker::builder("waiting")).half_open_timeout(Duration::from_secs(5));
    let breaker = builder.build().expect("a breaker");
    trip(&breaker);
    sleep(OPEN_TIME).await;
    let lost = breaker.try_acquire().expect("a probe");
    let began = Instant::now();
    breaker.acquire().await.success();
    let waited = began.elapsed();
    let expected = Duration::from_secs(5) + OPEN_TIME;
    assert!(waited >= expected && waited < expected + Duration::from_secs(2), "{waited:?}");
    drop(lost);
}

#[tokio::test(start_paused = true)]
async fn a_reset_admits_all_callers_and_a_forced_open_circuit_none() {
    let breaker = breaker();
    breaker.force_open();
    let mut first = task::spawn(breaker.acquire());
    let mut second = task::spawn(breaker.acquire());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    advance(Duration::from_secs(100_000)).await;
    assert_eq!((first.is_woken(), second.is_woken()), (false, false));
    breaker.reset();
    assert_ready!(first.poll()).success();
    assert_ready!(second.poll()).success();
}

#[tokio::test(start_paused = true)]
async fn a_ramp_admits_waiting_callers_at_its_rate() {
    let ramp = RampUp::new(0.1, Duration::from_secs(100));
    let breaker = quick(Breaker::builder("waiting")).ramp_up(ramp).build().expect("a breaker");
    trip(&breaker);
    breaker.acquire().await.success();
    assert_eq!(breaker.state(), State::Closed);
    let began = Instant::now();
    breaker.acquire().await.success();
    let waited = began.elapsed();
    // Each attempt adds a little over a tenth, and attempts are a second apart.
    assert!((Duration::from_secs(5)..Duration::from_secs(12)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_waiting_callers_never_exceed_the_slots() {
    let breaker = quick(Breaker::builder("waiting"))
        .success_threshold(30)
        .half_open_max_calls(3)
        .build()
        .expect("a breaker");
    trip(&breaker);
    let out = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..100)
        .map(|_| {
            let (breaker, out) = (breaker.clone(), Arc::clone(&out));
            tokio::spawn(async move {
                let permit = breaker.acquire().await;
                let half_open = breaker.state() == State::HalfOpen;
                let before = out.fetch_add(1, Ordering::SeqCst);
                assert!(!half_open || before < 3, "{before}");
                sleep(Duration::from_millis(10)).await;
                out.fetch_sub(1, Ordering::SeqCst);
                permit.success();
            })
        })
        .collect();
    for worker in workers {
        timeout(OPEN_TIME * 2, worker).await.expect("in time").expect("no panic");
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn without_a_runtime_changes_of_the_circuit_wake_waiting_callers() {
    struct Thread(std::thread::Thread);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let breaker = Breaker::builder("waiting").build().expect("a breaker");
    breaker.force_open();
    let other = breaker.clone();
    let resets = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        other.reset();
    });
    let waker = Waker::from(Arc::new(Thread(std::thread::current())));
    let mut waiting = std::pin::pin!(breaker.acquire());
    let began = std::time::Instant::now();
    while waiting.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
        std::thread::park_timeout(Duration::from_secs(10));
        assert!(began.elapsed() < Duration::from_secs(9), "the task was not woken");
    }
    resets.join().expect("no panic");
}
