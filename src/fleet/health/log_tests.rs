//! What is logged of a connection that comes and goes.

use super::*;
use crate::fleet::tests::support::log::Log;

/// Else the beats of all shards would look at each other's.
#[test]
fn gauges_are_not_recorded_with_each_beat() {
    let now = Instant::now() + 1000 * RECORD_INTERVAL;
    assert!(Gauges::is_due(now));
    assert!(!Gauges::is_due(now));
    assert!(Gauges::is_due(now + RECORD_INTERVAL));
    *std_lock(&RECORDED) = None;
}

#[test]
fn a_reason_is_logged_once_a_minute_and_a_few_within_it() {
    let (mut logged, start) = (Logged::default(), Instant::now());
    assert!(logged.is_new("late", start));
    assert!(logged.is_new("gone", start));
    for second in 1..60 {
        let now = start + Duration::from_secs(second);
        assert!(!logged.is_new("late", now) && !logged.is_new("gone", now));
    }
    let later = start + Logged::MEMORY;
    assert!(logged.is_new("late", later));
    let differing = (0..100).filter(|one| logged.is_new(&format!("at {one}"), later));
    assert_eq!(differing.count(), Logged::MOST - 1);
}

#[test]
fn an_outage_and_its_end_are_logged_at_warn_and_info() {
    let (log, health) = (Log::default(), ConnectionHealth::new(7, Arc::default()));
    log.during(|| {
        health.set_joined();
        for _ in 0..3 {
            health.set_alone("connection refused");
        }
        health.set_joined();
    });
    let text = log.text();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let [joined, alone, again] = lines[..] else { panic!("{text}") };
    for line in [joined, again] {
        assert!(line.starts_with("INFO") && line.contains("joined the fleet"), "{line}");
        assert!(line.contains("shard=7"), "{line}");
    }
    assert!(alone.starts_with("WARN") && alone.contains("shard=7"), "{alone}");
    assert_eq!(alone.matches("connection refused").count(), 1, "{alone}");
    assert!(alone.contains("check the fleet's Redis server"), "{alone}");
    // An outage that was not logged is, once it has lasted.
    log.during(|| health.set_alone("connection refused"));
    assert_eq!(log.lines_with("WARN"), 1);
    let mut logged = std_lock(&health.logged);
    logged.reasons.iter_mut().for_each(|(_, at)| *at -= Logged::MEMORY);
    drop(logged);
    log.during(|| health.set_alone("connection refused"));
    assert_eq!(log.lines_with("WARN"), 2);
}

#[test]
fn a_connection_that_comes_and_goes_is_logged_a_few_times_a_minute() {
    let (mut logged, start) = (Logged::default(), Instant::now());
    assert!(logged.is_join_new(), "the first time");
    let mut lines = 0;
    for second in 0..59 {
        let now = start + Duration::from_secs(second);
        lines += usize::from(logged.is_new("gone", now));
        lines += usize::from(logged.is_join_new());
    }
    assert_eq!(lines, 2);
    // The log says that it is reached. If that stays untrue, it does not for long.
    assert_eq!(logged.is_joined, Some(true));
    assert!(logged.is_new("gone", start + Logged::MEMORY));
    assert!(logged.is_join_new());
}
