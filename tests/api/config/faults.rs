//! Faults, their paths and their messages.

use tower_breaker::{
    Config, RampUp,
    config::{ConfigFile, StoreConfig},
};

use super::paths;

fn faults_of(json: &str) -> Vec<String> {
    let error = Config::from_json(json).expect_err(json);
    paths(&error).into_iter().map(str::to_owned).collect()
}

#[test]
fn one_error_lists_every_fault_with_its_path() {
    let faults = faults_of(
        r#"{
            "trip_on": [
                {"consecutive_failures": 0},
                {"failure_rate": {"threshold": 1.5, "window": {"calls": 0}, "minimum_calls": 0}},
                {"slow_call_rate": {"threshold": 0, "slower_than": "0s", "window": {"time":"1us"}}},
                {"error_rate": {}},
                {"failure_rate": {"window": {"call": 10}, "minimum": 3}}
            ],
            "recovery_timeout": "soon",
            "recovery_timeuot": "60s",
            "backoff": {"multiplier": 0.5, "max": "0s", "jitter": 2, "maximum": 3},
            "success_threshold": -1,
            "half_open_max_calls": 0,
            "half_open_failure_rate": 1.01,
            "half_open_timeout": 60,
            "ramp_up": {"start": 1.0, "time": "0s"},
            "snapshot_ttl": {"open": "0s"},
            "history_retention_days": 366,
            "flush_interval": 1,
            "transition_flush_interval": "366days",
            "call_metrics": "histogram"
        }"#,
    );
    let mut sorted: Vec<&str> = faults.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "backoff.jitter",
            "backoff.max",
            "backoff.maximum",
            "backoff.multiplier",
            "call_metrics",
            "flush_interval",
            "half_open_failure_rate",
            "half_open_max_calls",
            "half_open_timeout",
            "history_retention_days",
            "ramp_up.start",
            "ramp_up.time",
            "recovery_timeout",
            "recovery_timeuot",
            "snapshot_ttl.open",
            "success_threshold",
            "transition_flush_interval",
            "trip_on[0].consecutive_failures",
            "trip_on[1].failure_rate.minimum_calls",
            "trip_on[1].failure_rate.threshold",
            "trip_on[1].failure_rate.window.calls",
            "trip_on[2].slow_call_rate.slower_than",
            "trip_on[2].slow_call_rate.threshold",
            "trip_on[2].slow_call_rate.window.time",
            "trip_on[3].error_rate",
            "trip_on[4].failure_rate.minimum",
            "trip_on[4].failure_rate.threshold",
            "trip_on[4].failure_rate.window.call",
        ]
    );
}

#[test]
fn a_maximum_below_the_first_step_is_a_fault() {
    let json = r#"{"recovery_timeout": "60s", "backoff": {"max": "59s"}}"#;
    assert_eq!(faults_of(json), ["backoff.max"]);
    let json = r#"{"recovery_timeout": "60s", "backoff": {"max": "60s"}}"#;
    assert!(Config::from_json(json).is_ok());
}

#[test]
fn durations_and_numbers_that_overflow_are_faults() {
    for json in [
        r#"{"recovery_timeout": "366days"}"#,
        r#"{"recovery_timeout": "99999999999999999999s"}"#,
        r#"{"recovery_timeout": "18446744073709551615s"}"#,
    ] {
        assert_eq!(faults_of(json), ["recovery_timeout"], "{json}");
    }
    assert_eq!(faults_of(r#"{"success_threshold": 4294967296}"#), ["success_threshold"]);
    assert_eq!(faults_of(r#"{"success_threshold": 1.5}"#), ["success_threshold"]);
}

/// The message of the only fault.
fn message_of(json: &str) -> String {
    let error = Config::from_json(json).expect_err(json);
    assert_eq!(error.faults().len(), 1, "{error}");
    error.faults()[0].message().to_owned()
}

#[test]
fn an_error_shows_the_path_the_value_and_what_is_allowed() {
    let error = Config::from_json(r#"{"recovery_timeout": "0s"}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid circuit breaker configuration: \
         recovery_timeout: 0s is out of range; must be above 0s and at most 365days"
    );
    let error = Config::from_json(r#"{"success_threshold": 0, "ramp_up": {"start": 1}}"#);
    assert_eq!(
        error.unwrap_err().to_string(),
        "invalid circuit breaker configuration (2 faults):\n  \
         success_threshold: 0 is out of range; must be at least 1\n  \
         ramp_up.start: 1 is out of range; must be at least 0 and below 1"
    );
    let error = Config::from_json("[1").unwrap_err().to_string();
    assert!(error.contains("invalid JSON: "), "{error}");
}

#[test]
fn a_message_says_what_was_expected_and_what_was_found() {
    for (json, message) in [
        ("7", "expected an object, found 7"),
        (r#"{"trip_on": {}}"#, "expected a list of rules, found an object with 0 fields"),
        (
            r#"{"trip_on": [{}]}"#,
            "expected an object with one field of `consecutive_failures`, `failure_rate`, \
             `slow_call_rate`, found an object with 0 fields",
        ),
        (
            r#"{"trip_on": [{"error_rate": 1}]}"#,
            "unknown field `error_rate`; expected one of `consecutive_failures`, \
             `failure_rate`, `slow_call_rate`",
        ),
        (r#"{"trip_on": [{"failure_rate": {"threshold": 1}}]}"#, "required field is missing"),
        (
            r#"{"recovery_timeout": 60}"#,
            r#"expected a duration such as "60s" or "1m 30s", found 60"#,
        ),
        (
            r#"{"recovery_timeout": "before the next full moon, but not on a Sunday"}"#,
            concat!(
                r#"expected a duration such as "60s" or "1m 30s", "#,
                r#"found "before the next full moon, but not on a "..."#,
            ),
        ),
        (
            r#"{"success_threshold": "1"}"#,
            r#"expected a whole number, at most 4294967295, found "1""#,
        ),
        (r#"{"half_open_failure_rate": []}"#, "expected a number, found a list"),
        (
            r#"{"backoff": {"max": "1m", "first": 1}}"#,
            "unknown field `first`; expected one of `multiplier`, `max`, `jitter`",
        ),
    ] {
        assert_eq!(message_of(json), message, "{json}");
    }
}

#[test]
fn an_unknown_field_is_reported_with_the_known_ones() {
    let message = message_of(r#"{"recovery_timeuot": "60s"}"#);
    let known = message.strip_prefix("unknown field `recovery_timeuot`; expected one of ");
    let known: Vec<_> = known.unwrap().split(", ").map(|name| name.trim_matches('`')).collect();
    let config = serde_json::to_value(Config::default()).unwrap();
    let mut fields: Vec<_> = config.as_object().unwrap().keys().collect();
    fields.sort_by_key(|field| known.iter().position(|known| known == field));
    assert_eq!(known, fields, "the message names all fields, and no other");
}

#[test]
fn a_rule_that_cannot_be_read_hides_no_other_fault() {
    let faults = faults_of(
        r#"{"trip_on": [
            {"error_rate": {}},
            7,
            {"consecutive_failures": 0},
            {"failure_rate": {"window": {"calls": 0}, "minimum_calls": 0}},
            {"slow_call_rate": {"threshold": 2, "window": 5}}
        ]}"#,
    );
    let expected = [
        "trip_on[0].error_rate",
        "trip_on[1]",
        "trip_on[3].failure_rate.threshold",
        "trip_on[4].slow_call_rate.slower_than",
        "trip_on[4].slow_call_rate.window",
        "trip_on[2].consecutive_failures",
        "trip_on[3].failure_rate.window.calls",
        "trip_on[3].failure_rate.minimum_calls",
        "trip_on[4].slow_call_rate.threshold",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_field_that_is_there_twice_is_a_fault() {
    let json = r#"{"recovery_timeout": "1s", "success_threshold": 1, "recovery_timeout": "2s",
        "trip_on": [{"failure_rate": {"threshold": 1, "window": {"calls": 3}, "threshold": 1}}]}"#;
    let error = Config::from_json(json).unwrap_err();
    assert_eq!(paths(&error), ["recovery_timeout", "trip_on[0].failure_rate.threshold"]);
    assert!(error.to_string().contains("duplicate field"), "{error}");
    let file = r#"{"breakers": {"a b": {}, "a b": {"success_threshold": 2}}, "breakers": {}}"#;
    let error = ConfigFile::from_json(file).unwrap_err();
    assert_eq!(paths(&error), [r#"breakers["a b"]"#, "breakers"]);
}

#[test]
fn numbers_that_are_not_finite_are_faults() {
    let toml = r"
        half_open_failure_rate = nan
        [backoff]
        multiplier = inf
        jitter = -nan
        [[trip_on]]
        failure_rate = { threshold = nan, window = { calls = 10 } }
    ";
    let error = toml::from_str::<Config>(toml).unwrap_err().to_string();
    for expected in [
        "(4 faults)",
        "half_open_failure_rate: expected a finite number, found NaN",
        "backoff.multiplier: expected a finite number, found inf",
        "backoff.jitter: expected a finite number, found",
        "trip_on[0].failure_rate.threshold: expected a finite number, found NaN",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let file = "[breakers.payments.ramp_up]\nstart = nan\n[store]\nsled = 'state'";
    let error = toml::from_str::<ConfigFile>(file).unwrap_err().to_string();
    assert!(error.contains("breakers.payments.ramp_up.start: expected a finite"), "{error}");
    let file = file.replace("nan", "0.5");
    let file = toml::from_str::<ConfigFile>(&file).unwrap();
    assert_eq!(file.get("payments").ramp_up.unwrap(), RampUp::new(0.5, RampUp::default().time));
    assert_eq!(file.store(), Some(&StoreConfig::Sled("state".into())));
}
