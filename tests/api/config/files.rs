//! Files with defaults and the settings of several breakers.

use std::time::Duration;

use tower_breaker::{
    Backoff, Config, RampUp, Trip, Window,
    config::{ConfigFile, SnapshotTtl},
};

use super::paths;

#[test]
fn a_file_overrides_its_defaults_field_by_field() {
    let file = ConfigFile::from_json(
        r#"{
            "defaults": {"recovery_timeout": "30s", "trip_on": [{"consecutive_failures": 3}]},
            "breakers": {"payments": {"trip_on": []}, "search": {"success_threshold": 2}}
        }"#,
    )
    .unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["payments", "search"]);
    assert_eq!(file.get("payments").trip_on, []);
    assert_eq!(file.get("payments").recovery_timeout, Duration::from_secs(30));
    assert_eq!(file.get("search").trip_on, [Trip::consecutive_failures(3)]);
    assert_eq!(file.get("another").recovery_timeout, Duration::from_secs(30));
}

#[test]
fn a_file_reports_each_fault_once_with_the_name_of_the_breaker() {
    let error = ConfigFile::from_json(
        r#"{
            "defaults": {"recovery_timeout": "0s"},
            "breakers": {"a": {"success_threshold": 0}, "b": {}, "c": 7},
            "breaker": {}
        }"#,
    )
    .unwrap_err();
    assert_eq!(
        paths(&error),
        ["defaults.recovery_timeout", "breakers.a.success_threshold", "breakers.c", "breaker"]
    );
}

/// What the breakers override is judged over the defaults that could be read.
#[test]
fn a_fault_of_the_defaults_causes_no_other() {
    for (defaults, breaker, expected) in [
        (
            r#""recovery_timeout": "10s", "typo": 1"#,
            r#""backoff": {"max": "30s"}"#,
            &["defaults.typo"][..],
        ),
        (
            r#""recovery_timeout": "soon", "backoff": {"max": "9m"}"#,
            r#""backoff": {"max": "30s"}"#,
            &["defaults.recovery_timeout"],
        ),
        (
            r#""recovery_timeout": "2m", "backoff": {"max": "1m"}"#,
            r#""backoff": {"max": "30s"}, "success_threshold": 0"#,
            &["defaults.backoff.max", "breakers.a.backoff.max", "breakers.a.success_threshold"],
        ),
        (
            r#""trip_on": [{"failure_rate": {"window": {"calls": 0}}}], "recovery_timeout": "5s""#,
            r#""backoff": {"max": "30s"}"#,
            &[
                "defaults.trip_on[0].failure_rate.threshold",
                "defaults.trip_on[0].failure_rate.window.calls",
            ],
        ),
    ] {
        let file = format!(r#"{{"defaults": {{{defaults}}}, "breakers": {{"a": {{{breaker}}}}}}}"#);
        let error = ConfigFile::from_json(&file).unwrap_err();
        let mut found = paths(&error);
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{file}");
    }
}

/// TOML has no `null`.
#[test]
fn off_turns_off_what_the_defaults_turn_on() {
    let toml = r#"
        [defaults]
        half_open_max_calls = 3
        half_open_failure_rate = 0.5
        half_open_timeout = "5s"
        abandoned_after = "7s"
        backoff = { multiplier = 2.0 }
        ramp_up = { time = "1m" }
        [breakers.a]
        half_open_max_calls = "off"
        half_open_failure_rate = "off"
        half_open_timeout = "off"
        abandoned_after = "off"
        backoff = "off"
        ramp_up = "off"
    "#;
    let file = ConfigFile::from_toml(toml).unwrap();
    let a = file.get("a");
    assert_eq!((a.half_open_max_calls, a.half_open_failure_rate), (None, None));
    assert_eq!((a.half_open_timeout, a.abandoned_after), (None, None));
    assert_eq!((a.backoff, a.ramp_up), (None, None));
    assert!(file.defaults().backoff.is_some() && file.defaults().ramp_up.is_some());
    for field in ["success_threshold", "recovery_timeout", "trip_on", "snapshot_ttl"] {
        let error = Config::from_json(&format!(r#"{{"{field}": "off"}}"#)).unwrap_err();
        assert_eq!(paths(&error), [field], "it cannot be off");
    }
}

#[test]
fn a_path_quotes_a_name_with_special_characters() {
    let error = ConfigFile::from_json(
        r#"{"breakers": {"EU/pay": 1, "a.b": 1, "line\nfeed": 1, "plain-1": 1, "": 1}, "x y": 1}"#,
    )
    .unwrap_err();
    assert_eq!(
        paths(&error),
        [
            r#"breakers[""]"#,
            r#"breakers["EU/pay"]"#,
            r#"breakers["a.b"]"#,
            r#"breakers["line\nfeed"]"#,
            "breakers.plain-1",
            r#"["x y"]"#,
        ]
    );
    assert_eq!(error.to_string().lines().count(), 7, "{error}");
    assert_eq!(
        error.faults()[5].message(),
        "unknown field `x y`; expected one of `defaults`, `breakers`, `store`"
    );
}

#[test]
fn a_file_overrides_its_defaults_at_every_depth() {
    let file = ConfigFile::from_json(
        r#"{
            "defaults": {
                "recovery_timeout": "30s",
                "backoff": {"multiplier": 3.0, "max": "20m", "jitter": 0.5},
                "ramp_up": {"start": 0.2, "time": "1m"},
                "half_open_timeout": "5s",
                "trip_on": [{"failure_rate": {"threshold": 0.5, "window": {"calls": 10}}}]
            },
            "breakers": {
                "payments": {"backoff": {"jitter": 0.1}, "snapshot_ttl": {"open": "2h"}},
                "search": {"backoff": null, "ramp_up": {"start": null}, "recovery_timeout": null},
                "mail": {"backoff": {"max": null}, "half_open_timeout": null,
                    "trip_on": [{"failure_rate": {"threshold": 0.9, "window": {"time": "1m"}}}]}
            }
        }"#,
    )
    .unwrap();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let payments = file.get("payments");
    assert_eq!(payments.backoff, Some(Backoff::new(3.0, minutes(20)).jitter(0.1)));
    assert_eq!(payments.snapshot_ttl.open, Duration::from_secs(2 * 3600));
    assert_eq!(payments.snapshot_ttl.closed, SnapshotTtl::default().closed);
    let search = file.get("search");
    assert_eq!(search.backoff, None, "it is off");
    assert_eq!(search.ramp_up, Some(RampUp::new(RampUp::default().start, minutes(1))));
    assert_eq!(search.recovery_timeout, Config::default().recovery_timeout);
    assert_eq!(search.half_open_timeout, Some(Duration::from_secs(5)));
    let mail = file.get("mail");
    assert_eq!(mail.backoff.unwrap().max, Backoff::default().max);
    assert_eq!(mail.half_open_timeout, None);
    let trip = Trip::failure_rate(0.9, Window::time(minutes(1)));
    assert_eq!(mail.trip_on, [trip], "a list is replaced");
}

#[test]
fn a_null_hides_no_misspelt_field() {
    let file = r#"{"breakers": {"a": {"recovery_timeuot": null, "backoff": {"maximum": null}}}}"#;
    let error = ConfigFile::from_json(file).unwrap_err();
    let expected = ["breakers.a.backoff.maximum", "breakers.a.recovery_timeuot"];
    assert_eq!(paths(&error), expected);
    // What must be there cannot be unset.
    let file = r#"{"defaults": {"trip_on": [
        {"consecutive_failures": null}, {"failure_rate": {"threshold": null, "window": null}}]}}"#;
    let error = ConfigFile::from_json(file).unwrap_err();
    let expected = [
        "defaults.trip_on[0].consecutive_failures",
        "defaults.trip_on[1].failure_rate.threshold",
        "defaults.trip_on[1].failure_rate.window",
    ];
    assert_eq!(paths(&error), expected);
}

#[test]
fn a_null_unsets_a_field_whether_or_not_the_defaults_have_set_it() {
    let unset = r#"{"trip_on": null, "recovery_timeout": null, "success_threshold": null,
        "snapshot_ttl": {"open": null, "closed": null}, "history_retention_days": null,
        "flush_interval": null, "transition_flush_interval": null, "call_metrics": null}"#;
    assert_eq!(Config::from_json(unset).unwrap(), Config::default());
    for file in [
        format!(r#"{{"defaults": {unset}, "breakers": {{"a": {unset}}}, "store": null}}"#),
        r#"{"defaults": null, "breakers": null}"#.to_owned(),
        r#"{"breakers": {"a": null}}"#.to_owned(),
        r#"{"breakers": {"a": {"snapshot_ttl": null}}}"#.to_owned(),
    ] {
        let file = ConfigFile::from_json(&file).unwrap();
        assert_eq!((file.defaults(), file.get("a")), (&Config::default(), &Config::default()));
    }
    let file = r#"{"defaults": {"success_threshold": 3}, "breakers": {"a": null, "b": {"backoff":
        {"multiplier": null, "max": null, "jitter": null}, "ramp_up": {"start": null}}}}"#;
    let file = ConfigFile::from_json(file).unwrap();
    assert_eq!(file.get("a").success_threshold, 3);
    let b = file.get("b");
    assert_eq!((b.backoff, b.ramp_up), (Some(Backoff::default()), Some(RampUp::default())));
    let rule = r#"{"trip_on": [{"failure_rate":
        {"threshold": 0.5, "window": {"calls": 100}, "minimum_calls": null}}]}"#;
    let expected = [Trip::failure_rate(0.5, Window::calls(100))];
    assert_eq!(Config::from_json(rule).unwrap().trip_on, expected);
}
