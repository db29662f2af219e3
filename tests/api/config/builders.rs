//! Settings through builders and updates.

use std::{sync::Arc, time::Duration};

use tower_breaker::{
    Backoff, Breaker, CircuitBreakerLayer, Config, RampUp, Trip, Window,
    config::{CallMetrics, SnapshotTtl},
};

use super::paths;

#[test]
fn the_builder_lists_every_fault_including_that_of_the_name() {
    let error = CircuitBreakerLayer::builder("")
        .trip_on(Trip::failure_rate(f64::NAN, Window::calls(10)))
        .backoff(Backoff::new(f64::INFINITY, Duration::from_secs(600)).jitter(f64::NAN))
        .ramp_up(RampUp::new(f64::NAN, Duration::from_secs(1)))
        .success_threshold(0)
        .build()
        .unwrap_err();
    assert_eq!(
        paths(&error),
        [
            "name",
            "trip_on[0].failure_rate.threshold",
            "backoff.multiplier",
            "backoff.jitter",
            "success_threshold",
            "ramp_up.start",
        ]
    );
    let name = "n".repeat(512);
    assert!(Breaker::builder(&name).build().is_ok());
    assert!(Breaker::builder(name + "n").build().is_err());
}

#[test]
fn the_first_rule_replaces_the_default_and_further_rules_are_added() {
    let breaker = Breaker::builder("rules")
        .trip_on(Trip::consecutive_failures(9))
        .trip_on(Trip::failure_rate(0.5, Window::calls(10)))
        .build()
        .unwrap();
    assert_eq!(breaker.config().trip_on.len(), 2);
    assert_eq!(breaker.config().trip_on[0], Trip::consecutive_failures(9));
}

/// A builder with a value other than the default for each field of [`Config`].
macro_rules! with_every_setting {
    ($builder:expr) => {{
        let mut ttl = SnapshotTtl::default();
        ttl.open = Duration::from_secs(7);
        $builder
            .trip_on(Trip::consecutive_failures(7))
            .recovery_timeout(Duration::from_secs(7))
            .backoff(Backoff::new(2.0, Duration::from_secs(70)))
            .success_threshold(7)
            .half_open_max_calls(7)
            .half_open_failure_rate(0.7)
            .half_open_timeout(Duration::from_secs(7))
            .ramp_up(RampUp::new(0.7, Duration::from_secs(7)))
            .snapshot_ttl(ttl)
            .abandoned_after(Duration::from_secs(7))
            .history_retention_days(7)
            .flush_interval(Duration::from_secs(7))
            .transition_flush_interval(Duration::from_millis(7))
            .call_metrics(CallMetrics::Off)
    }};
}

#[test]
fn each_setting_has_a_method_on_both_builders() {
    let breaker = with_every_setting!(Breaker::builder("settings")).build().unwrap();
    let layer = with_every_setting!(CircuitBreakerLayer::builder("settings")).build().unwrap();
    assert_eq!(layer.breaker().config(), breaker.config());

    let set = serde_json::to_value(&*breaker.config()).unwrap();
    let default = serde_json::to_value(Config::default()).unwrap();
    for (field, value) in set.as_object().unwrap() {
        assert_ne!(*value, default[field], "no method sets {field}");
    }
}

#[test]
fn builders_and_updates_take_a_shared_config() {
    let mut config = Config::default();
    config.success_threshold = 2;
    let config = Arc::new(config);
    let breaker = Breaker::builder("shared").config(Arc::clone(&config)).build().unwrap();
    assert!(Arc::ptr_eq(&breaker.config(), &config));

    let breaker = Breaker::builder("updated").build().unwrap();
    breaker.update(Arc::clone(&config)).unwrap();
    assert!(Arc::ptr_eq(&breaker.config(), &config));
    breaker.update(Config::default()).unwrap();
    assert_eq!(*breaker.config(), Config::default());
}

#[test]
fn an_invalid_update_changes_nothing() {
    let breaker = Breaker::builder("update").build().unwrap();
    let mut wrong = Config::default();
    wrong.recovery_timeout = Duration::ZERO;
    assert!(breaker.update(wrong).is_err());
    assert_eq!(*breaker.config(), Config::default());
}
