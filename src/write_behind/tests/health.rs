//! The health of a store: each transition of the table, and the retry.

use std::time::{Duration, Instant, SystemTime};

use super::super::health::{
    Announcement, Health, HealthChange, Instants, Report,
    Trouble::{self, Failing, Partial, Stalled, Unavailable},
};
use crate::health::StoreHealth;

/// The states, from left to right in the table.
const STATES: [Option<Trouble>; 5] =
    [None, Some(Partial), Some(Failing), Some(Unavailable), Some(Stalled)];

/// What an announcement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Degraded,
    Healthy,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Done,
    DoneWithFailedLeft,
    Partly,
    FailedAgain,
    Failed,
    Outage,
    Overdue,
    CallEnded,
}

struct Clock {
    start: Instants,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instants { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH } }
    }

    fn at(&self, millis: u64) -> Instants {
        let passed = Duration::from_millis(millis);
        Instants { instant: self.start.instant + passed, wall: self.start.wall + passed }
    }
}

fn partly() -> Report {
    Report::Partly { reason: "partly".to_owned() }
}

fn failed() -> Report {
    Report::Failed { reason: "failed".to_owned() }
}

fn outage() -> Report {
    Report::Outage { reason: "outage".to_owned() }
}

const DONE: Report = Report::Done { failed_left: false };
const FAILED_LEFT: Report = Report::Done { failed_left: true };

/// A store that is in this state since the start of the clock.
fn health_in(state: Option<Trouble>, clock: &Clock) -> Health {
    let mut health = Health::default();
    let start = clock.at(0);
    let _ = match state {
        None => HealthChange::default(),
        Some(Partial) => health.report(partly(), false, start),
        Some(Failing) => health.report(failed(), false, start),
        Some(Unavailable) => health.report(outage(), false, start),
        Some(Stalled) => health.overdue(Duration::from_secs(1), start).unwrap(),
    };
    assert_eq!(health.trouble(), state);
    health
}

fn apply(health: &mut Health, event: Event, now: Instants) -> HealthChange {
    match event {
        Event::Done => health.report(DONE, false, now),
        Event::DoneWithFailedLeft => health.report(FAILED_LEFT, false, now),
        Event::Partly => health.report(partly(), false, now),
        Event::FailedAgain => {
            let reason = "failed again".to_owned();
            health.report(Report::FailedAgain { reason }, false, now)
        }
        Event::Failed => health.report(failed(), false, now),
        Event::Outage => health.report(outage(), false, now),
        Event::Overdue => health.overdue(Duration::from_secs(2), now).unwrap_or_default(),
        Event::CallEnded => {
            health.end_call(now.instant);
            HealthChange::default()
        }
    }
}

/// Checks a row of the table: for each state, the state after the event, what is announced, whether
/// every breaker is saved again, and whether what failed is retried at once.
fn check(event: Event, row: [(Option<Trouble>, Said, bool, bool); 5]) {
    let clock = Clock::new();
    for (state, expected) in STATES.into_iter().zip(row) {
        let mut health = health_in(state, &clock);
        let epoch = health.epoch();
        let now = clock.at(20);
        let HealthChange { announcement, save_all } = apply(&mut health, event, now);
        let said = match announcement {
            None => Said::Nothing,
            Some(Announcement::Degraded { .. }) => Said::Degraded,
            Some(Announcement::Healthy { after }) => {
                assert_eq!(after, Duration::from_millis(20));
                Said::Healthy
            }
        };
        let at_once = health.retry_at() == Some(now.instant);
        let found = (health.trouble(), said, save_all, at_once);
        assert_eq!(found, expected, "{event:?} in the state {state:?}");
        assert_eq!(health.epoch() - epoch, u64::from(said != Said::Nothing));
        assert_eq!(health.epoch() % 2 == 1, !health.is_healthy());
        assert_eq!(health.is_healthy(), health.retry_at().is_none());
    }
}

#[test]
fn a_batch_that_worked_ends_every_trouble() {
    check(
        Event::Done,
        [
            (None, Said::Nothing, false, false),
            (None, Said::Healthy, false, false),
            (None, Said::Healthy, true, false),
            (None, Said::Healthy, true, false),
            (None, Said::Healthy, true, false),
        ],
    );
}

#[test]
fn a_store_with_failed_entries_left_is_in_partial_trouble() {
    check(
        Event::DoneWithFailedLeft,
        [
            (None, Said::Nothing, false, false),
            (Some(Partial), Said::Nothing, false, false),
            (Some(Partial), Said::Nothing, true, false),
            (Some(Partial), Said::Nothing, true, true),
            (Some(Partial), Said::Nothing, true, true),
        ],
    );
}

#[test]
fn a_batch_that_worked_in_part_leaves_partial_trouble() {
    check(
        Event::Partly,
        [
            (Some(Partial), Said::Degraded, false, false),
            (Some(Partial), Said::Nothing, false, false),
            (Some(Partial), Said::Nothing, true, false),
            (Some(Partial), Said::Nothing, true, true),
            (Some(Partial), Said::Nothing, true, true),
        ],
    );
}

#[test]
fn what_fails_again_says_nothing_new_about_a_failing_store() {
    check(
        Event::FailedAgain,
        [
            (Some(Partial), Said::Degraded, false, false),
            (Some(Partial), Said::Nothing, false, false),
            (Some(Failing), Said::Nothing, false, false),
            (Some(Partial), Said::Nothing, true, true),
            (Some(Partial), Said::Nothing, true, true),
        ],
    );
}

#[test]
fn a_batch_that_failed_means_a_failing_store() {
    check(
        Event::Failed,
        [
            (Some(Failing), Said::Degraded, false, false),
            (Some(Failing), Said::Nothing, false, false),
            (Some(Failing), Said::Nothing, false, false),
            (Some(Failing), Said::Nothing, false, false),
            (Some(Failing), Said::Nothing, false, false),
        ],
    );
}

#[test]
fn an_outage_means_an_unavailable_store() {
    check(
        Event::Outage,
        [
            (Some(Unavailable), Said::Degraded, false, false),
            (Some(Unavailable), Said::Nothing, false, false),
            (Some(Unavailable), Said::Nothing, false, false),
            (Some(Unavailable), Said::Nothing, false, false),
            (Some(Unavailable), Said::Nothing, false, false),
        ],
    );
}

#[test]
fn an_overdue_call_means_a_stalled_store() {
    check(
        Event::Overdue,
        [
            (Some(Stalled), Said::Degraded, false, false),
            (Some(Stalled), Said::Nothing, false, false),
            (Some(Stalled), Said::Nothing, false, false),
            (Some(Stalled), Said::Nothing, false, false),
            (Some(Stalled), Said::Nothing, false, false),
        ],
    );
    let mut health = health_in(Some(Stalled), &Clock::new());
    assert_eq!(health.overdue(Duration::from_secs(9), Instants::read()), None, "it is known");
    assert!(health.stall_reason().unwrap().contains("waited 1.0 s"));
}

#[test]
fn a_call_that_returns_ends_the_stall_and_not_the_trouble() {
    check(
        Event::CallEnded,
        [
            (None, Said::Nothing, false, false),
            (Some(Partial), Said::Nothing, false, false),
            (Some(Failing), Said::Nothing, false, false),
            (Some(Unavailable), Said::Nothing, false, false),
            (Some(Unavailable), Said::Nothing, false, false),
        ],
    );
}

#[test]
fn each_failed_retry_doubles_the_wait_up_to_five_seconds() {
    let clock = Clock::new();
    let mut health = health_in(Some(Unavailable), &clock);
    let mut now = 0;
    for wait in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        assert_eq!(health.retry_at(), Some(clock.at(now + wait).instant));
        // Failures in between, of requests, change nothing.
        let _ = health.report(outage(), false, clock.at(now + wait / 2));
        let _ = health.report(failed(), false, clock.at(now + wait / 2));
        assert_eq!(health.retry_at(), Some(clock.at(now + wait).instant));
        now += wait;
        let _ = health.report(outage(), true, clock.at(now));
    }
    let _ = health.report(DONE, true, clock.at(now));
    let _ = health.report(outage(), false, clock.at(now));
    assert_eq!(
        health.retry_at(),
        Some(clock.at(now + 100).instant),
        "it starts from the first delay"
    );
}

#[test]
fn a_store_of_which_a_part_is_reached_is_retried_within_half_a_second() {
    let clock = Clock::new();
    let mut health = health_in(Some(Unavailable), &clock);
    let mut now = 0;
    for (wait, reaches_part) in [
        (100, true),
        (200, true),
        (400, true),
        (500, true),
        (500, false),
        (500, false),
        (1000, false),
        (2000, true),
        (500, true),
        (500, true),
    ] {
        now += wait;
        assert_eq!(health.retry_at(), Some(clock.at(now).instant), "after {wait} ms");
        health.note_reach(reaches_part);
        let _ = health.report(outage(), true, clock.at(now));
    }
}

#[test]
fn the_status_says_since_when_and_why() {
    let clock = Clock::new();
    let mut health = health_in(Some(Partial), &clock);
    let _ = health.report(outage(), false, clock.at(500));
    let expected =
        StoreHealth::Degraded { since: clock.start.wall, reason: "outage".to_owned(), pending: 7 };
    assert_eq!(health.status(7), expected);
    let _ = health.report(FAILED_LEFT, false, clock.at(600));
    assert_eq!(health.status(7), expected, "the last reason that is known");
    let _ = health.report(DONE, false, clock.at(700));
    assert_eq!(health.status(7), StoreHealth::Healthy);
}

#[test]
fn only_an_outage_and_a_stall_hold_back_what_is_due() {
    let clock = Clock::new();
    let holds_back = STATES.map(|state| health_in(state, &clock).holds_back());
    assert_eq!(holds_back, [false, false, false, true, true]);
    let is_down = STATES.map(|state| health_in(state, &clock).is_down());
    assert_eq!(is_down, [false, false, true, true, true]);
}

#[test]
fn an_outage_predicts_failed_reads_and_a_single_unreadable_snapshot_does_not() {
    let clock = Clock::new();
    let at = |millis| clock.at(millis).instant;
    let mut health = Health::default();
    health.note_unreadable(true, false, at(0));
    health.note_unreadable(true, false, at(0));
    assert!(!health.predicts_failed_read(at(0)));
    health.note_unreadable(true, false, at(0));
    assert!(health.predicts_failed_read(at(9)));
    assert!(!health.predicts_failed_read(at(10)), "the prediction is short");
    health.note_unreadable(false, false, at(20));
    assert!(health.predicts_failed_read(at(20)), "until a read succeeds");
    health.note_readable();
    for _ in 0..3 {
        health.note_unreadable(false, false, at(25));
    }
    assert!(!health.predicts_failed_read(at(25)), "one snapshot that is read again and again");
    health.note_unreadable(true, false, at(30));
    assert!(!health.predicts_failed_read(at(30)));
    health.note_unreadable(true, true, at(40));
    assert!(health.predicts_failed_read(at(40)));
    let _ = health.report(DONE, false, clock.at(41));
    assert!(!health.predicts_failed_read(at(41)), "a healthy store predicts no failure");
    assert!(health_in(Some(Stalled), &clock).predicts_failed_read(at(100_000)));
}

#[test]
fn a_prediction_lasts_ten_times_as_long_as_the_call() {
    let clock = Clock::new();
    for (took, lasts) in [(0, 10), (20, 200), (500, 1000)] {
        let mut health = Health::default();
        health.begin_call(clock.at(0).instant);
        assert_eq!(health.call_age(clock.at(5).instant), Some(Duration::from_millis(5)));
        health.end_call(clock.at(took).instant);
        assert_eq!(health.call_age(clock.at(5).instant), None);
        let _ = health.report(failed(), false, clock.at(took));
        assert!(health.predicts_failed_save(clock.at(took + lasts - 1).instant));
        assert!(!health.predicts_failed_save(clock.at(took + lasts).instant));
        let _ = health.report(partly(), false, clock.at(took));
        assert!(!health.predicts_failed_save(clock.at(took).instant));
    }
}
