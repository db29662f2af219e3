//! What a configuration may contain, and how its faults are reported.

mod both_formats;
mod builders;
mod faults;
mod files;
pub(crate) mod stores;

use std::time::Duration;

use tower_breaker::{Backoff, Config, ConfigError, Trip, Window, config::CallMetrics};

/// The paths of an error's faults.
fn paths(error: &ConfigError) -> Vec<&str> {
    error.faults().iter().map(tower_breaker::config::Fault::path).collect()
}

const WHOLE: &str = r#"{
    "trip_on": [
        {"consecutive_failures": 5},
        {"failure_rate": {"threshold": 0.5, "window": {"calls": 100}, "minimum_calls": 20}},
        {"slow_call_rate": {"threshold": 0.8, "slower_than": "2s", "window": {"time": "30s"},
                            "minimum_calls": 20}}
    ],
    "recovery_timeout": "60s",
    "backoff": {"multiplier": 2.0, "max": "10m", "jitter": 0.2},
    "success_threshold": 1,
    "half_open_max_calls": 1,
    "half_open_failure_rate": null,
    "half_open_timeout": "60s",
    "ramp_up": null,
    "abandoned_after": "10s",
    "snapshot_ttl": {"open": "24h", "closed": "1h"},
    "history_retention_days": 30,
    "flush_interval": "1s",
    "transition_flush_interval": "0s",
    "call_metrics": "durations"
}"#;

#[test]
fn every_field_is_read_and_written_back() {
    let config = Config::from_json(WHOLE).unwrap();
    assert_eq!(
        config.trip_on,
        [
            Trip::consecutive_failures(5),
            Trip::failure_rate(0.5, Window::calls(100)).minimum_calls(20),
            Trip::slow_call_rate(
                0.8,
                Duration::from_secs(2),
                Window::time(Duration::from_secs(30))
            )
            .minimum_calls(20),
        ]
    );
    let backoff = Backoff::new(2.0, Duration::from_secs(600)).jitter(0.2);
    assert_eq!(config.backoff, Some(backoff));
    assert_eq!(config.call_metrics, CallMetrics::Durations);
    assert_eq!(config.abandoned_after, Some(Duration::from_secs(10)));
    let fields = |json: serde_json::Value| -> std::collections::BTreeSet<String> {
        json.as_object().unwrap().keys().cloned().collect()
    };
    let every_field = fields(serde_json::to_value(Config::default()).unwrap());
    assert_eq!(fields(serde_json::from_str(WHOLE).unwrap()), every_field);
    let written = serde_json::to_string(&config).unwrap();
    assert_eq!(Config::from_json(&written).unwrap(), config);
    assert_eq!(serde_json::from_str::<Config>(&written).unwrap(), config);
}

#[test]
fn a_missing_field_takes_its_default() {
    assert_eq!(Config::from_json("{}").unwrap(), Config::default());
    let config = Config::default();
    assert_eq!(config.trip_on, [Trip::consecutive_failures(5)]);
    assert_eq!(config.recovery_timeout, Duration::from_secs(60));
    assert_eq!(config.success_threshold, 1);
    assert_eq!(config.half_open_timeout, Some(Duration::from_secs(60)));
    assert_eq!((config.backoff, config.ramp_up), (None, None));
    assert_eq!(config.flush_interval, Duration::from_secs(1));
    assert_eq!(config.transition_flush_interval, Duration::ZERO);
}

#[test]
fn null_turns_optional_settings_off() {
    let config = Config::from_json(r#"{"half_open_timeout": null, "backoff": null}"#).unwrap();
    assert_eq!((config.half_open_timeout, config.backoff), (None, None));
}

#[test]
fn flush_intervals_are_read_from_files() {
    let json = r#"{"flush_interval": "200ms", "transition_flush_interval": "50ms"}"#;
    let config = Config::from_json(json).unwrap();
    assert_eq!(config.flush_interval, Duration::from_millis(200));
    assert_eq!(config.transition_flush_interval, Duration::from_millis(50));
    // Zero means at once, for both.
    assert!(Config::from_json(r#"{"flush_interval": "0s"}"#).is_ok());
    let mut config = Config::default();
    config.flush_interval = Duration::MAX;
    assert_eq!(paths(&config.validate().unwrap_err()), ["flush_interval"]);
}
