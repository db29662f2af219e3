//! When checks are made, and which settings are refused.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_interval_is_between_the_starts_of_checks() {
    let (dependency, breaker) = (Dependency::that(Answer::Slow(SECOND * 4)), breaker());
    let start = Instant::now();
    let _task = dependency.check().always().spawn(&breaker).unwrap();
    sleep(SECOND * 45).await;
    let found = dependency.asked_after(start);
    assert!(found[0] <= SECOND * 10);
    let expected: Vec<_> = (0..found.len())
        .scan(found[0], |at, _| {
            let this = *at;
            *at += SECOND * 10;
            Some(this)
        })
        .collect();
    assert_times(&found, &expected);
    assert!(found.len() >= 4);
}

#[tokio::test(start_paused = true)]
async fn checks_that_take_longer_than_the_interval_follow_one_after_the_other() {
    let (dependency, breaker) = (Dependency::that(Answer::Slow(SECOND * 4)), breaker());
    let check = dependency.check().always().interval(SECOND);
    let _task = check.spawn(&breaker).unwrap();
    for _ in 0..300 {
        sleep(MILLI * 100).await;
        assert!(dependency.in_flight() <= 1);
    }
    assert!((6..=8).contains(&dependency.checks()), "{}", dependency.checks());
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_checks_of_many() {
    let start = Instant::now();
    let checked: Vec<_> = (0..20)
        .map(|_| {
            let (dependency, breaker) = (Dependency::default(), breaker());
            let task = dependency.check().jitter(0.5).always().spawn(&breaker).unwrap();
            (dependency, breaker, task)
        })
        .collect();
    sleep(SECOND * 25 + MILLI * 5).await;
    let mut firsts = Vec::new();
    let mut intervals = Vec::new();
    for (dependency, ..) in &checked {
        let found = dependency.asked_after(start);
        firsts.push(found[0]);
        intervals.push(found[1].abs_diff(found[0]));
    }
    for found in [&mut firsts, &mut intervals] {
        found.sort_unstable();
        found.dedup();
        assert!(found.len() > 10, "{found:?}");
    }
    assert!(firsts.iter().all(|first| *first <= SECOND * 10 + MILLI * 2), "{firsts:?}");
    let range = MILLI * 9_998..=SECOND * 15 + MILLI * 4;
    assert!(intervals.iter().all(|interval| range.contains(interval)), "{intervals:?}");
}

#[tokio::test]
async fn settings_out_of_range_are_listed_in_one_error() {
    let (dependency, breaker) = (Dependency::default(), breaker());
    let check = dependency.check().interval(Duration::ZERO).timeout(Duration::ZERO);
    let check = check.healthy_threshold(0).unhealthy_threshold(0).jitter(f64::NAN);
    let error = check.spawn(&breaker).unwrap_err();
    let paths: Vec<_> = error.faults().iter().map(tower_breaker::config::Fault::path).collect();
    let all = ["interval", "timeout", "jitter", "unhealthy_threshold", "healthy_threshold"];
    assert_eq!(paths, all);
    for jitter in [-0.1, 1.1, f64::INFINITY] {
        dependency.check().jitter(jitter).spawn(&breaker).unwrap_err();
    }
    let longest = dependency.check().interval(Duration::MAX).timeout(Duration::MAX).jitter(1.0);
    let _task = longest.always().spawn(&breaker).unwrap();
    tokio::task::yield_now().await;
}

#[test]
fn debug_output_names_the_closure() {
    let check = HealthCheck::new(|| std::future::ready(Ok::<_, io::Error>(())));
    assert!(format!("{check:?}").contains("debug_output_names_the_closure::{{closure}}"));
}
