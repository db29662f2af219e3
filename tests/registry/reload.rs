//! A file that changes while the program runs.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tower_breaker::{Config, Event, Registry, State, Trip, clock::ManualClock, config::ConfigFile};

use crate::during_load::DuringLoad;

fn file(json: &str) -> ConfigFile {
    ConfigFile::from_json(json).unwrap()
}

fn recovery_timeout(registry: &Registry, name: &str) -> u64 {
    registry.get_or_create(name).unwrap().config().recovery_timeout.as_secs()
}

#[test]
fn new_settings_reach_breakers_that_exist_and_those_to_come() {
    let before = file(r#"{"breakers": {"payments": {"recovery_timeout": "20s"}}}"#);
    let registry = Registry::builder().config_file(&before).build().unwrap();
    assert_eq!(recovery_timeout(&registry, "payments"), 20);
    assert_eq!(recovery_timeout(&registry, "search"), 60);

    registry
        .reload(&file(
            r#"{"defaults": {"recovery_timeout": "5s"},
            "breakers": {"mail": {"recovery_timeout": "7s"}}}"#,
        ))
        .unwrap();
    assert_eq!(recovery_timeout(&registry, "payments"), 5, "its own settings are gone");
    assert_eq!(recovery_timeout(&registry, "search"), 5);
    assert_eq!(recovery_timeout(&registry, "mail"), 7);
    assert_eq!(recovery_timeout(&registry, "new"), 5);
}

#[test]
fn a_reload_keeps_states_and_counts() {
    let registry = Registry::builder().build().unwrap();
    let open = registry.get_or_create("open").unwrap();
    open.force_open();
    let counting = registry.get_or_create("counting").unwrap();
    counting.try_acquire().unwrap().failure();

    registry.reload(&file(r#"{"defaults": {"trip_on": [{"consecutive_failures": 2}]}}"#)).unwrap();
    assert_eq!(open.state(), State::ForcedOpen);
    assert_eq!(counting.stats().consecutive_failures(), 1);
    counting.try_acquire().unwrap().failure();
    assert_eq!(counting.state(), State::Open, "the new rule trips with the old count");
}

#[test]
fn every_call_counts_that_runs_while_settings_are_reloaded() {
    const THREADS: u32 = 2;
    const CALLS: u32 = 5000;
    let settings = |seconds: u32| {
        let rule = r#"{"failure_rate": {"threshold": 1, "window": {"calls": 100000}}}"#;
        let rest = format!(r#""recovery_timeout": "{seconds}s""#);
        file(&format!(r#"{{"defaults": {{"trip_on": [{rule}], {rest}}}}}"#))
    };
    let registry = Registry::builder().config_file(&settings(1)).build().unwrap();
    let breaker = registry.get_or_create("a").unwrap();
    breaker.try_acquire().unwrap().success();
    let under_way = breaker.try_acquire().unwrap();
    thread::scope(|scope| {
        let call = || {
            for number in 0..CALLS {
                let permit = breaker.try_acquire().unwrap();
                if number % 2 == 0 { permit.success() } else { permit.failure() }
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(call)).collect();
        let mut seconds = 1;
        while seconds < 3 || !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            seconds += 1;
            registry.reload(&settings(seconds)).unwrap();
        }
    });
    under_way.failure();
    let stats = breaker.stats();
    let calls = u64::from(THREADS * CALLS);
    assert_eq!(stats.window_calls(), 2 + calls);
    assert_eq!(stats.window_failures(), 1 + calls / 2);
}

#[test]
fn a_breaker_whose_settings_did_not_change_is_not_touched() {
    let text = r#"{"breakers": {"payments": {"recovery_timeout": "20s"}}}"#;
    let registry = Registry::builder().config_file(&file(text)).build().unwrap();
    let payments = registry.get_or_create("payments").unwrap();
    let mut by_hand = Config::default();
    by_hand.recovery_timeout = Duration::from_secs(99);
    payments.update(by_hand).unwrap();

    registry.reload(&file(text)).unwrap();
    assert_eq!(recovery_timeout(&registry, "payments"), 99);
}

#[test]
fn a_breaker_that_is_built_during_a_reload_gets_the_new_settings() {
    let store = DuringLoad::default();
    let registry = Registry::builder().store(store.clone()).build().unwrap();
    let (inner, done) = (registry.clone(), Arc::new(AtomicBool::new(false)));
    let is_done = Arc::clone(&done);
    store.run_once(move || {
        inner.reload(&file(r#"{"defaults": {"recovery_timeout": "5s"}}"#)).unwrap();
        is_done.store(true, Ordering::SeqCst);
    });
    assert_eq!(recovery_timeout(&registry, "payments"), 5);
    assert!(done.load(Ordering::SeqCst), "the reload was during the build");
}

#[test]
fn reloads_and_creations_at_once_end_with_the_newest_settings() {
    let registry = Registry::builder().build().unwrap();
    let creator = {
        let registry = registry.clone();
        thread::spawn(move || {
            for name in 0..500 {
                registry.get_or_create(format!("breaker {name}")).unwrap();
            }
        })
    };
    for seconds in 1..=100 {
        registry
            .reload(&file(&format!(r#"{{"defaults": {{"recovery_timeout": "{seconds}s"}}}}"#)))
            .unwrap();
    }
    creator.join().unwrap();
    let breakers = registry.breakers();
    assert_eq!(breakers.len(), 500);
    for breaker in breakers {
        assert_eq!(breaker.config().recovery_timeout, Duration::from_secs(100));
    }
}

#[test]
fn a_name_that_no_breaker_can_have_is_a_fault_of_the_file() {
    let error = ConfigFile::from_json(r#"{"breakers": {"": {}, "x": {}}}"#).unwrap_err();
    assert_eq!(error.faults().len(), 1);
    assert_eq!(error.faults()[0].path(), r#"breakers[""]"#);
}

#[test]
fn toml_and_json_report_the_same_faults() {
    let json = ConfigFile::from_json(
        r#"{"defaults": {"succes_threshold": 1},
            "breakers": {"pay.ments": {"trip_on": [{"failure_rate":
                {"threshold": 2.0, "window": {"calls": 0}}}], "recovery_timeout": "1x"}},
            "stores": "sled"}"#,
    );
    let toml = ConfigFile::from_toml(
        r#"
        stores = "sled"
        [defaults]
        succes_threshold = 1
        [breakers."pay.ments"]
        recovery_timeout = "1x"
        trip_on = [{ failure_rate = { threshold = 2.0, window = { calls = 0 } } }]
        "#,
    );
    let paths = |result: Result<ConfigFile, tower_breaker::ConfigError>| {
        let mut paths: Vec<_> =
            result.unwrap_err().faults().iter().map(|fault| fault.path().to_owned()).collect();
        paths.sort();
        paths
    };
    let expected = [
        r#"breakers["pay.ments"].recovery_timeout"#,
        r#"breakers["pay.ments"].trip_on[0].failure_rate.threshold"#,
        r#"breakers["pay.ments"].trip_on[0].failure_rate.window.calls"#,
        "defaults.succes_threshold",
        "stores",
    ];
    assert_eq!(paths(json), expected);
    assert_eq!(paths(toml), expected);
}

#[test]
fn toml_settings_are_those_of_the_same_json() {
    let toml = ConfigFile::from_toml(
        r#"
        store = { sled = "state" }
        [defaults]
        recovery_timeout = "5s"
        [[breakers.payments.trip_on]]
        consecutive_failures = 3
        "#,
    )
    .unwrap();
    let json = file(
        r#"{"store": {"sled": "state"}, "defaults": {"recovery_timeout": "5s"},
            "breakers": {"payments": {"trip_on": [{"consecutive_failures": 3}]}}}"#,
    );
    assert_eq!(toml, json);
    assert_eq!(toml.get("payments").trip_on, [Trip::consecutive_failures(3)]);
    let error = ConfigFile::from_toml("[defaults").unwrap_err();
    assert!(error.to_string().contains("invalid TOML"), "{error}");
}

/// An update finds a transition that was due, whose listeners run on this thread.
#[test]
fn a_listener_may_create_a_breaker_and_reload_during_a_reload() {
    let clock = ManualClock::new();
    let registry = Arc::new(OnceLock::<Registry>::new());
    let inner = Arc::clone(&registry);
    let built = Registry::builder()
        .clock(clock.clone())
        .on_event(move |event| {
            if matches!(event, Event::Transition(it) if it.to == State::HalfOpen) {
                let registry = inner.get().unwrap();
                registry.get_or_create("new").unwrap();
                registry.reload(&file(r#"{"defaults": {"recovery_timeout": "7s"}}"#)).unwrap();
            }
        })
        .build()
        .unwrap();
    registry.set(built).unwrap();
    let registry = registry.get().unwrap();
    registry.get_or_create("a").unwrap().trip();
    clock.advance(Duration::from_secs(60));
    registry.reload(&file(r#"{"defaults": {"recovery_timeout": "5s"}}"#)).unwrap();
    assert_eq!(recovery_timeout(registry, "a"), 7);
    assert_eq!(recovery_timeout(registry, "new"), 7);
}
