//! A check is the first probe, and may end the open time early.

use super::*;

/// When the check of a circuit that is open for a minute begins.
const CHECKED: Duration = Duration::from_millis(59_900);

#[tokio::test(start_paused = true)]
async fn a_recovery_is_found_before_a_caller_pays_for_the_probe() {
    let (dependency, breaker) = (Dependency::that(Answer::Slow(SECOND)), breaker());
    let _task = dependency.check().spawn(&breaker).unwrap();
    let start = Instant::now();
    trip(&breaker);
    let mut events = breaker.subscribe();
    sleep(MILLI * 59_898).await;
    assert_eq!(dependency.checks(), 0, "the open time is kept");
    sleep(MILLI * 100).await;
    assert_eq!(dependency.in_flight(), 1);
    // The moment at which a caller could be the probe has come, and the check is that probe.
    sleep(MILLI * 100).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.state(), State::HalfOpen);
    sleep(SECOND).await;
    breaker.try_acquire().expect("closed").success();
    assert_times(&dependency.asked_after(start), &[CHECKED]);
    let expected =
        [(State::HalfOpen, Reason::HealthCheck), (State::Closed, Reason::ProbesSucceeded)];
    assert_eq!(steps(&mut events), expected);
    sleep(SECOND * 3600).await;
    assert_eq!(dependency.checks(), 1, "a closed circuit is not checked");
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_opens_again_for_the_next_step_of_the_backoff() {
    let backoff = tower_breaker::Backoff::new(2.0, SECOND * 600).jitter(0.0);
    let breaker = builder().backoff(backoff).build().unwrap();
    let dependency = Dependency::that(Answer::Down);
    let _task = dependency.check().spawn(&breaker).unwrap();
    let start = Instant::now();
    trip(&breaker);
    sleep(SECOND * 60 + SECOND).await;
    let rejected = breaker.try_acquire().expect_err("no caller was the probe");
    assert_eq!(rejected.state(), State::Open);
    sleep(SECOND * 420).await;
    // After 60 s, 120 s and 240 s, each shorter by 100 ms.
    let expected = [59_900, 179_800, 419_700].map(|at| MILLI * at);
    assert_times(&dependency.asked_after(start), &expected);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_at_its_timeout_and_frees_the_slot() {
    let (dependency, breaker) = (Dependency::that(Answer::Hangs), breaker());
    let _task = dependency.check().timeout(SECOND * 2).spawn(&breaker).unwrap();
    trip(&breaker);
    let mut events = breaker.subscribe();
    sleep(SECOND * 61).await;
    assert_eq!((breaker.state(), dependency.in_flight()), (State::HalfOpen, 1));
    sleep(SECOND * 2).await;
    assert_eq!((breaker.state(), dependency.in_flight()), (State::Open, 0));
    let expected = [(State::HalfOpen, Reason::HealthCheck), (State::Open, Reason::ProbeFailed)];
    assert_eq!(steps(&mut events), expected);
}

#[tokio::test(start_paused = true)]
async fn several_successes_are_a_check_each_interval() {
    let breaker = builder().success_threshold(3).build().unwrap();
    let dependency = Dependency::default();
    let _task = dependency.check().spawn(&breaker).unwrap();
    let start = Instant::now();
    trip(&breaker);
    sleep(SECOND * 75).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    sleep(SECOND * 10).await;
    assert_eq!(breaker.state(), State::Closed);
    let expected = [CHECKED, CHECKED + SECOND * 10, CHECKED + SECOND * 20];
    assert_times(&dependency.asked_after(start), &expected);
}

#[tokio::test(start_paused = true)]
async fn a_good_check_ends_the_open_time_early_if_it_is_asked_to() {
    let (dependency, breaker) = (Dependency::that(Answer::Down), breaker());
    let _task = dependency.check().recover_early().spawn(&breaker).unwrap();
    let start = Instant::now();
    trip(&breaker);
    let mut events = breaker.subscribe();
    sleep(SECOND * 25).await;
    dependency.becomes(Answer::Healthy);
    assert_eq!(breaker.state(), State::Open, "bad checks change nothing");
    sleep(SECOND * 6).await;
    assert_eq!(breaker.state(), State::Closed);
    assert_times(&dependency.asked_after(start), &[10, 20, 30].map(|at| SECOND * at));
    let expected =
        [(State::HalfOpen, Reason::HealthCheck), (State::Closed, Reason::ProbesSucceeded)];
    assert_eq!(steps(&mut events), expected);
}

#[tokio::test(start_paused = true)]
async fn so_many_good_checks_in_a_row_end_the_open_time() {
    let (dependency, breaker) = (Dependency::default(), breaker());
    let check = dependency.check().recover_early().healthy_threshold(3);
    let _task = check.spawn(&breaker).unwrap();
    trip(&breaker);
    for (answer, state) in [
        (Answer::Healthy, State::Open),
        (Answer::Healthy, State::Open),
        (Answer::Down, State::Open),
        (Answer::Healthy, State::Open),
        (Answer::Healthy, State::Open),
    ] {
        dependency.becomes(answer);
        sleep(SECOND * 10 + MILLI * 2).await;
        assert_eq!(breaker.state(), state);
    }
    // The sixth is the probe at the end of the open time.
    sleep(SECOND * 10).await;
    assert_eq!((breaker.state(), dependency.checks()), (State::Closed, 6));
}

#[tokio::test(start_paused = true)]
async fn the_open_time_ends_early_at_the_third_good_check() {
    let (dependency, breaker) = (Dependency::default(), breaker());
    let check = dependency.check().recover_early().healthy_threshold(3);
    let _task = check.spawn(&breaker).unwrap();
    trip(&breaker);
    sleep(SECOND * 31).await;
    assert_eq!((breaker.state(), dependency.checks()), (State::Closed, 3));
}

#[tokio::test(start_paused = true)]
async fn with_all_slots_taken_a_check_waits_for_one() {
    let (dependency, breaker) = (Dependency::default(), breaker());
    trip(&breaker);
    sleep(SECOND * 60).await;
    let probe = breaker.try_acquire().expect("half-open");
    let _task = dependency.check().spawn(&breaker).unwrap();
    sleep(SECOND * 11).await;
    assert_eq!(dependency.checks(), 0);
    probe.cancel();
    sleep(MILLI * 102).await;
    assert_eq!((breaker.state(), dependency.checks()), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_comes_back_open_is_checked_at_the_end_of_what_is_left() {
    let store = tower_breaker::MemoryStore::new();
    let before = builder().store(store.clone()).build().unwrap();
    trip(&before);
    before.flush().await.unwrap();
    drop(before);
    let dependency = Dependency::default();
    let after = builder().store(store).build().unwrap();
    assert_eq!(after.state(), State::Open);
    let _task = dependency.check().spawn(&after).unwrap();
    sleep(SECOND * 61).await;
    assert_eq!((after.state(), dependency.checks()), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn short_open_times_are_kept_but_for_a_tenth() {
    let breaker = builder().recovery_timeout(MILLI * 200).build().unwrap();
    let dependency = Dependency::that(Answer::Down);
    let _task = dependency.check().spawn(&breaker).unwrap();
    let start = Instant::now();
    trip(&breaker);
    sleep(MILLI * 700).await;
    let expected = [180, 360, 540].map(|at| MILLI * at);
    let found = dependency.asked_after(start);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.abs_diff(expected) <= MILLI * 6, "{found:?}, not {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_under_way_at_the_end_of_the_open_time_becomes_the_probe() {
    for (answer, closes) in [(Answer::Slow(MILLI * 4_500), true), (Answer::Hangs, false)] {
        let (dependency, breaker) = (Dependency::that(Answer::Down), breaker());
        let check = dependency.check().recover_early().interval(SECOND * 7);
        let _task = check.spawn(&breaker).unwrap();
        let start = Instant::now();
        trip(&breaker);
        let mut events = breaker.subscribe();
        sleep(SECOND * 55).await;
        dependency.becomes(answer);
        sleep(MILLI * 5_200).await;
        assert_times(&dependency.asked_after(start)[7..], &[SECOND * 56]);
        let rejected = breaker.try_acquire().expect_err("the check is the probe");
        assert_eq!((rejected.state(), dependency.in_flight()), (State::HalfOpen, 1));
        sleep(SECOND).await;
        let (state, reason) = if closes {
            (State::Closed, Reason::ProbesSucceeded)
        } else {
            (State::Open, Reason::ProbeFailed)
        };
        let expected = [(State::HalfOpen, Reason::HealthCheck), (state, reason)];
        assert_eq!(steps(&mut events), expected);
    }
}
