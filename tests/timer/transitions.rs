//! Transitions that time alone causes, and their events.

use std::{
    sync::mpsc::{self, Receiver},
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service};
use tower_breaker::{
    Breaker, BreakerBuilder, CircuitBreakerLayer, Event, State,
    clock::ManualClock,
    config::CallMetrics,
    event::{Reason, Transition},
};

use super::{OPEN_TIME, TIMER, alone, quick, support::wait::eventually, threads, trip};

/// The longest delay on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds a breaker whose transitions arrive at the receiver.
pub(crate) fn heard(builder: BreakerBuilder) -> (Breaker, Receiver<Transition>) {
    let (sender, receiver) = mpsc::channel();
    let builder = builder.on_event(move |event| {
        if let Event::Transition(transition) = event {
            // After the test, the receiver is gone.
            let _ = sender.send(transition.clone());
        }
    });
    (builder.build().unwrap(), receiver)
}

pub(crate) fn next(receiver: &Receiver<Transition>) -> Transition {
    receiver.recv_timeout(PATIENCE).expect("a transition without traffic")
}

#[test]
fn the_end_of_the_open_time_is_reported_on_time_without_traffic() {
    let _alone = alone();
    let (breaker, transitions) = heard(quick("open"));
    let began = Instant::now();
    trip(&breaker);
    let opened = next(&transitions);
    assert_eq!(opened.open_time, Some(OPEN_TIME));
    let half_open = next(&transitions);
    assert!(began.elapsed() >= OPEN_TIME);
    assert_eq!((half_open.to, half_open.reason), (State::HalfOpen, Reason::RecoveryTimeout));
    let open_time = half_open.at.duration_since(opened.at).unwrap();
    assert!(open_time.abs_diff(OPEN_TIME) < Duration::from_millis(5), "{open_time:?}");
    // Once.
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(transitions.try_recv().is_err());
}

#[test]
fn the_end_of_a_manual_state_is_reported_without_traffic() {
    let _alone = alone();
    let (breaker, transitions) = heard(quick("by hand"));
    breaker.disable_for(Duration::from_secs(3600));
    next(&transitions);
    // Earlier than the deadline that the thread waits for.
    breaker.force_open_for(OPEN_TIME);
    next(&transitions);
    let ended = next(&transitions);
    assert_eq!((ended.from, ended.reason), (State::ForcedOpen, Reason::ManualExpired));
}

#[test]
fn a_probe_that_takes_too_long_is_reported_without_traffic() {
    let _alone = alone();
    let (breaker, transitions) = heard(quick("probe").half_open_timeout(OPEN_TIME));
    trip(&breaker);
    assert_eq!(next(&transitions).to, State::Open);
    assert_eq!(next(&transitions).to, State::HalfOpen);
    let probe = breaker.try_acquire().unwrap();
    assert_eq!(next(&transitions).reason, Reason::ProbeTimeout);
    assert_eq!(next(&transitions).to, State::HalfOpen);
    drop(probe);
}

#[test]
fn a_restored_breaker_reports_the_end_of_its_open_time_too() {
    let _alone = alone();
    let (breaker, _transitions) = heard(quick("first"));
    trip(&breaker);
    let (_restored, transitions) = heard(quick("restored").restore(breaker.snapshot()));
    assert_eq!(next(&transitions).reason, Reason::Restored);
    assert_eq!(next(&transitions).reason, Reason::RecoveryTimeout);
}

/// Metrics look at a breaker each second, which is a use.
pub(crate) fn unmetered(name: &str) -> BreakerBuilder {
    quick(name).call_metrics(CallMetrics::Off)
}

#[test]
fn a_breaker_with_a_custom_clock_reports_when_it_is_used() {
    let _alone = alone();
    let clock = ManualClock::new();
    let (breaker, transitions) = heard(unmetered("manual").clock(clock.clone()));
    trip(&breaker);
    next(&transitions);
    clock.advance(OPEN_TIME);
    assert!(transitions.recv_timeout(OPEN_TIME * 3).is_err());
    assert_eq!(breaker.state(), State::HalfOpen);
    next(&transitions);
}

#[test]
fn the_thread_does_not_apply_the_deadlines_of_a_reused_cell_to_a_custom_clock() {
    let _alone = alone();
    let (breaker, _transitions) = heard(quick("old"));
    trip(&breaker);
    drop(breaker);
    let clock = ManualClock::new();
    // Among these is the one that takes the old one's memory.
    let breakers: Vec<_> = (0..100).map(|_| heard(unmetered("new").clock(clock.clone()))).collect();
    for (breaker, _) in &breakers {
        trip(breaker);
    }
    clock.advance(OPEN_TIME);
    std::thread::sleep(OPEN_TIME * 3);
    for (_, transitions) in &breakers {
        assert_eq!(transitions.try_iter().count(), 1, "the opening");
    }
}

#[test]
fn a_dropped_breaker_reports_nothing() {
    let _alone = alone();
    let (breaker, transitions) = heard(quick("dropped"));
    trip(&breaker);
    next(&transitions);
    drop(breaker);
    // The listener is gone with it.
    assert_eq!(transitions.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_thousand_breakers_share_one_thread() {
    let _alone = alone();
    let breakers: Vec<_> = (0..1000).map(|_| heard(quick("many"))).collect();
    for (breaker, _) in &breakers {
        trip(breaker);
    }
    for (_, transitions) in &breakers {
        assert_eq!([next(transitions).to, next(transitions).to], [State::Open, State::HalfOpen]);
    }
    // One that was blocked, by another test, may still be on its way out.
    eventually("one thread, and one that stands by", || threads(TIMER) <= 2);
}

#[test]
fn a_listener_that_panics_on_the_thread_does_not_affect_the_others() {
    let _alone = alone();
    let panics = |event: &Event| {
        if matches!(event, Event::Transition(step) if step.to == State::HalfOpen) {
            std::panic::resume_unwind(Box::new("a listener"));
        }
    };
    let panicking = quick("panicking").on_event(panics).build().unwrap();
    let (breaker, transitions) = heard(quick("other").recovery_timeout(OPEN_TIME * 2));
    trip(&panicking);
    trip(&breaker);
    assert_eq!(next(&transitions).to, State::Open);
    assert_eq!(next(&transitions).to, State::HalfOpen);
    assert_eq!(panicking.state(), State::HalfOpen);
}

#[test]
fn a_listener_that_blocks_the_thread_delays_no_other_breaker() {
    let _alone = alone();
    let (blocked, is_blocked) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let blocks = move |event: &Event| {
        if matches!(event, Event::Transition(step) if step.to == State::HalfOpen) {
            blocked.send(()).unwrap();
            let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
        }
    };
    let blocking = quick("blocking").on_event(blocks).build().unwrap();
    let (waiting, waiting_transitions) = heard(quick("waiting").recovery_timeout(OPEN_TIME * 2));
    trip(&waiting);
    trip(&blocking);
    is_blocked.recv_timeout(PATIENCE).unwrap();
    // Nothing else needs the thread meanwhile.
    let states = [next(&waiting_transitions).to, next(&waiting_transitions).to];
    assert_eq!(states, [State::Open, State::HalfOpen]);
    go.send(()).unwrap();
    eventually("the blocked thread ends", || threads(TIMER) <= 2);
}

/// A task that waits for the inner service is woken when the circuit opens, also if time alone
/// opens it.
#[test]
fn a_task_that_waits_for_its_service_is_woken_when_a_probe_takes_too_long() {
    let _alone = alone();
    let builder = CircuitBreakerLayer::builder("parked").half_open_timeout(OPEN_TIME);
    let layer = builder.recovery_timeout(OPEN_TIME).half_open_max_calls(2).build().unwrap();
    let breaker = layer.breaker().clone();
    (0..5).for_each(|_| trip(&breaker));
    eventually("half-open", || breaker.state() == State::HalfOpen);
    let probe = breaker.try_acquire().unwrap();
    let mut service = layer.layer(Busy);
    let mut parked = task::spawn(());
    assert_pending!(parked.enter(|cx, _| service.poll_ready(cx)));
    eventually("woken", || parked.is_woken());
    if breaker.state() == State::Open {
        assert_ready!(parked.enter(|cx, _| service.poll_ready(cx))).unwrap();
    }
    drop(probe);
}

/// Never ready.
struct Busy;

impl Service<()> for Busy {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

/// A hundred thousand whose open time ends in the same second.
#[test]
#[ignore = "a measurement: cargo test --release --test timer hundred -- --ignored --nocapture"]
fn a_hundred_thousand_open_breakers() {
    const BREAKERS: usize = 100_000;
    let _alone = alone();
    let (sender, receiver) = mpsc::channel();
    let open = quick("many").recovery_timeout(Duration::from_secs(3)).build().unwrap();
    trip(&open);
    let snapshot = open.snapshot();
    let began = Instant::now();
    let breakers: Vec<_> = (0..BREAKERS)
        .map(|_| {
            let sender = sender.clone();
            let builder = quick("many").recovery_timeout(Duration::from_secs(3));
            let builder = builder.on_event(move |event| {
                if matches!(event, Event::Transition(step) if step.to == State::HalfOpen) {
                    let _ = sender.send(SystemTime::now());
                }
            });
            builder.restore(snapshot.clone()).build().unwrap()
        })
        .collect();
    println!("built in {:?}", began.elapsed());
    let first = receiver.recv_timeout(PATIENCE).unwrap();
    let last = receiver.iter().take(BREAKERS - 1).last().unwrap();
    println!("reported within {:?}", last.duration_since(first).unwrap());
    assert!(last.duration_since(first).unwrap() < Duration::from_secs(3));
    drop(breakers);
}
