//! What a configuration may contain, and how its faults are reported.

use std::{sync::Arc, time::Duration};

use tower_breaker::{
    Backoff, Breaker, CircuitBreakerLayer, Config, ConfigError, RampUp, Trip, Window,
    config::{ConfigFile, SnapshotTtl, StoreConfig},
};

/// The paths of an error's faults.
fn paths(error: &ConfigError) -> Vec<&str> {
    error.faults().iter().map(tower_breaker::config::Fault::path).collect()
}

fn faults_of(json: &str) -> Vec<String> {
    let error = Config::from_json(json).expect_err(json);
    paths(&error).into_iter().map(str::to_owned).collect()
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
    "snapshot_ttl": {"open": "24h", "closed": "1h"},
    "history_retention_days": 30,
    "flush_interval": "1s",
    "transition_flush_interval": "0s"
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
            "transition_flush_interval": "366days"
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
    let file = r#"{"breakers": {"a": {"recovery_timeuot": null, "success_threshold": null}}}"#;
    let error = ConfigFile::from_json(file).unwrap_err();
    let expected = ["breakers.a.success_threshold", "breakers.a.recovery_timeuot"];
    assert_eq!(paths(&error), expected);
}

#[test]
fn a_field_that_is_there_twice_is_a_fault() {
    let json = r#"{"recovery_timeout": "1s", "success_threshold": 1, "recovery_timeout": "2s",
        "trip_on": [{"failure_rate": {"threshold": 1, "window": {"calls": 3}, "threshold": 1}}]}"#;
    let error = Config::from_json(json).unwrap_err();
    assert_eq!(paths(&error), ["recovery_timeout", "trip_on[0].failure_rate.threshold"]);
    assert!(error.to_string().contains("there twice"), "{error}");
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

#[test]
fn a_file_says_where_state_is_stored() {
    let read = |json: &str| ConfigFile::from_json(json).map(|file| file.store().cloned());
    assert_eq!(read("{}").unwrap(), None);
    assert_eq!(read(r#"{"store": null}"#).unwrap(), None);
    for (json, text, store) in [
        (r#"{"sled": "a"}"#, "sled:a", StoreConfig::Sled("a".into())),
        (r#"{"redb": "/b c"}"#, "redb:/b c", StoreConfig::Redb("/b c".into())),
        (r#"{"file": "C:\\d"}"#, "file:C:\\d", StoreConfig::File("C:\\d".into())),
        (r#""memory""#, "memory", StoreConfig::Memory),
    ] {
        assert_eq!(read(&format!(r#"{{"store": {json}}}"#)).unwrap(), Some(store.clone()));
        assert_eq!(text.parse(), Ok(store.clone()));
        assert_eq!(store.to_string(), text);
    }
    for (json, path) in [
        (r#"{"store": "sled"}"#, "store"),
        (r#"{"store": {}}"#, "store"),
        (r#"{"store": {"sled": "a", "file": "b"}}"#, "store"),
        (r#"{"store": {"sledge": "a"}}"#, "store.sledge"),
        (r#"{"store": {"sled": ""}}"#, "store.sled"),
        (r#"{"store": {"redb": null}}"#, "store.redb"),
    ] {
        assert_eq!(paths(&read(json).unwrap_err()), [path], "{json}");
    }
    for text in ["", "sled", "sled:", "sledge:a", ":a", "Memory"] {
        let error = text.parse::<StoreConfig>().unwrap_err().to_string();
        assert!(error.contains("expected `sled:FOLDER`"), "{error}");
    }
}

#[test]
fn a_store_that_a_file_names_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for kind in ["sled", "redb", "file"] {
        let folder = folder.join(kind);
        let file = format!(r#"{{"store": {{"{kind}": {:?}}}}}"#, folder.display().to_string());
        let file = ConfigFile::from_json(&file).unwrap();
        let store = file.open_store().unwrap().unwrap();
        assert_eq!(store.label(), kind);
        let again = file.open_store().unwrap().unwrap();
        assert_eq!(store.id(), again.id());
        let breaker = Breaker::builder("stored").store(store).build().unwrap();
        breaker.force_open();
        breaker.flush_blocking(Duration::from_secs(60)).unwrap();
        drop((breaker, again));
        assert!(folder.is_dir());
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = StoreConfig::Sled(file).open().map(|store| store.id()).unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
    assert!(ConfigFile::default().open_store().unwrap().is_none());
}

/// In a process of its own: other tests read the environment too.
#[test]
fn the_environment_says_where_state_is_stored() {
    const CHILD: &str = "TOWER_BREAKER_TEST_CHILD";
    let file = ConfigFile::from_json(r#"{"store": "memory"}"#).unwrap();
    if let Ok(expected) = std::env::var(CHILD) {
        let found = match file.open_store() {
            Ok(store) => store.map_or("none".to_owned(), |store| store.label().to_owned()),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(&expected), "{found} is not {expected}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = format!("file:{}", dir.path().display());
    for (variable, expected) in [
        (None, "memory"),
        (Some("off"), "none"),
        (Some(""), "none"),
        (Some(files.as_str()), "file"),
        (Some("flie:state"), "TOWER_BREAKER_STORE: unknown store"),
    ] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["the_environment_says_where_state_is_stored"]).env(CHILD, expected);
        child.env_remove("TOWER_BREAKER_STORE");
        child.envs(variable.map(|variable| ("TOWER_BREAKER_STORE", variable)));
        let output = child.output().unwrap();
        assert!(output.status.success(), "{variable:?}: {output:?}");
    }
}
