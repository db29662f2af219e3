//! Bad checks open the circuit before callers notice, if it is asked for.

use tower_breaker::{
    Config, KeyedBreakers,
    event::{PreventedBy, WouldTrip},
};

use super::*;
use crate::support::log::Log;

#[tokio::test(start_paused = true)]
async fn so_many_bad_checks_in_a_row_open_the_circuit() {
    let (dependency, breaker) = (Dependency::default(), breaker());
    let check = dependency.check().always().unhealthy_threshold(3);
    let _task = check.spawn(&breaker).unwrap();
    let mut events = breaker.subscribe();
    // The first check comes within the first interval.
    sleep(SECOND * 10 + MILLI * 2).await;
    assert_eq!(dependency.checks(), 1);
    for (answer, state) in [
        (Answer::Down, State::Closed),
        (Answer::Down, State::Closed),
        (Answer::Healthy, State::Closed),
        (Answer::Down, State::Closed),
        (Answer::Down, State::Closed),
        (Answer::Down, State::Open),
    ] {
        dependency.becomes(answer);
        sleep(SECOND * 10).await;
        assert_eq!(breaker.state(), state);
    }
    let transition = transitions(&mut events).pop().expect("an opening");
    assert_eq!((transition.to, transition.reason), (State::Open, Reason::HealthCheck));
    assert_eq!((transition.failure_count, transition.manual), (3, false));
    assert_eq!(transition.open_time, Some(SECOND * 60));
    // And it is checked at the end, as any open circuit.
    dependency.becomes(Answer::Healthy);
    sleep(SECOND * 61).await;
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_counts_as_failed() {
    let (dependency, breaker) = (Dependency::that(Answer::Hangs), breaker());
    let check = dependency.check().always().unhealthy_threshold(1).timeout(SECOND * 2);
    let _task = check.spawn(&breaker).unwrap();
    sleep(SECOND * 12 + MILLI * 4).await;
    assert_eq!((breaker.state(), dependency.in_flight()), (State::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn the_log_says_why_checks_opened_the_circuit() {
    let log = Log::default();
    let _guard = log.follow();
    let (dependency, breaker) = (Dependency::that(Answer::Down), breaker());
    let _task = dependency.check().always().spawn(&breaker).unwrap();
    sleep(SECOND * 31).await;
    assert_eq!(breaker.state(), State::Open);
    let opens = "health checks of circuit breaker \"checked\" failed 3 times in a row";
    assert_eq!(log.lines_with(opens), 1, "{}", log.text());
    let line = log.text().lines().find(|line| line.contains(opens)).unwrap().to_owned();
    assert!(line.contains("WARN") && line.contains("error=down"), "{line}");
    assert_eq!(log.lines_with("health check"), 1, "one check is not worth a line");
    assert_eq!(log.lines_with("reason=\"health_check\""), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn checks_of_a_closed_circuit_are_no_calls() {
    let breaker = Breaker::builder("checked").clock(TokioClock::new()).build().unwrap();
    let dependency = Dependency::default();
    let _task = dependency.check().always().spawn(&breaker).unwrap();
    for _ in 0..4 {
        breaker.try_acquire().unwrap().failure();
    }
    sleep(SECOND * 100).await;
    assert!(dependency.checks() >= 9);
    assert_eq!(breaker.stats().consecutive_failures(), 4, "a good check hides no failed call");
    dependency.becomes(Answer::Down);
    sleep(SECOND * 10 + MILLI * 2).await;
    assert_eq!(breaker.stats().consecutive_failures(), 4, "a bad check is no failed call");
}

#[tokio::test(start_paused = true)]
async fn a_state_set_by_hand_is_neither_checked_nor_ended() {
    let dependency = Dependency::that(Answer::Down);
    let breaker = breaker();
    let check = dependency.check().always().recover_early().unhealthy_threshold(1);
    let _task = check.spawn(&breaker).unwrap();
    for by_hand in [Breaker::force_open, Breaker::disable, Breaker::metrics_only] {
        by_hand(&breaker);
        let state = breaker.state();
        sleep(SECOND).await; // for a check that was due
        let before = dependency.checks();
        sleep(SECOND * 600).await;
        assert_eq!((breaker.state(), dependency.checks()), (state, before));
    }
    // One that is under way while an operator acts changes nothing either.
    dependency.becomes(Answer::Hangs);
    breaker.reset();
    sleep(SECOND * 10 + MILLI * 2).await;
    assert_eq!(dependency.in_flight(), 1);
    breaker.disable();
    sleep(SECOND * 10).await;
    assert_eq!((breaker.state(), dependency.in_flight()), (State::Disabled, 0));
    // Afterwards the checks go on.
    breaker.reset();
    dependency.becomes(Answer::Down);
    sleep(SECOND * 10 + MILLI * 2).await;
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_counts_as_failed_and_the_checks_go_on() {
    let log = Log::default();
    let _guard = log.follow();
    let (dependency, breaker) = (Dependency::that(Answer::Panics), breaker());
    let check = dependency.check().always().unhealthy_threshold(2);
    let task = check.spawn(&breaker).unwrap();
    sleep(SECOND * 21).await;
    assert_eq!((breaker.state(), task.is_finished()), (State::Open, false));
    let panicked = "health check of circuit breaker \"checked\" panicked: it counts as failed";
    assert_eq!(log.lines_with(panicked), 2, "{}", log.text());
    dependency.becomes(Answer::Healthy);
    sleep(SECOND * 61).await;
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn checks_open_no_more_circuits_than_the_group_allows() {
    let log = Log::default();
    let _guard = log.follow();
    let mut config = Config::default();
    config.recovery_timeout = SECOND * 600;
    let hosts = KeyedBreakers::builder("hosts").config(config).max_open_ratio(0.5);
    let hosts = hosts.clock(TokioClock::new()).build().unwrap();
    let [open, checked] = ["a", "b"].map(|key| hosts.get_or_create(key).unwrap());
    open.trip();
    let dependency = Dependency::that(Answer::Down);
    let check = dependency.check().always().unhealthy_threshold(2);
    let _task = check.spawn(&checked).unwrap();
    let mut events = hosts.subscribe();
    let mut would_trip = || -> Vec<WouldTrip> {
        std::iter::from_fn(|| events.try_recv().ok())
            .filter_map(|event| match event {
                Event::WouldTrip(event) => Some(event),
                _ => None,
            })
            .collect()
    };
    sleep(SECOND * 30 + MILLI * 2).await;
    assert_eq!((dependency.checks(), checked.state()), (3, State::Closed));
    let [event] = &would_trip()[..] else { panic!("one event for both checks") };
    assert_eq!((event.reason, event.failure_count), (Reason::HealthCheck, 2));
    assert_eq!((&*event.name, event.prevented_by), ("hosts:b", PreventedBy::MaxOpenRatio));
    assert_eq!(hosts.stats().open_limit.unwrap().would_have_opened, 1);
    assert_eq!(log.lines_with("times in a row"), 0, "{}", log.text());
    assert_eq!(log.lines_with("would have opened"), 1, "{}", log.text());

    // A good check ends the streak, and the next one is another time.
    for key in ["a", "b"] {
        let _ = hosts.get_or_create(key); // a call of each within the last minute
    }
    for (answer, checks, events) in [(Answer::Healthy, 1, 0), (Answer::Down, 2, 1)] {
        dependency.becomes(answer);
        sleep(SECOND * 10 * checks).await;
        assert_eq!((checked.state(), would_trip().len()), (State::Closed, events));
    }
    open.reset();
    sleep(SECOND * 10).await;
    assert_eq!((checked.state(), would_trip().len()), (State::Open, 0));
    assert_eq!(hosts.stats().open_limit.unwrap().open, 1);
}
