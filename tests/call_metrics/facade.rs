//! What a recorder of the facade receives.

use std::{
    convert::Infallible,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use metrics::Unit;
use tokio_test::block_on;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, KeyedBreakers, Outcome, State, Trip, Window,
    classify::classify_fn,
    clock::{Clock, ManualClock, SystemClock},
    config::CallMetrics,
};

use super::{
    counted, metrics,
    recorder::{PANICS, PANICS_AT_GAUGES, Recorded},
    support::{random::Random, wait::eventually},
};

static RECORDED: LazyLock<Recorded> = LazyLock::new(Recorded::install);

const OUTCOMES: [&str; 6] = ["success", "failure", "throttled", "ignored", "cancelled", "rejected"];

const STATES: [&str; 6] =
    ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];

fn value(series: &str, name: &str, labels: &str) -> Option<f64> {
    let labels = if labels.is_empty() { String::new() } else { format!(",{labels}") };
    RECORDED.of(&format!("circuit_breaker_{series}{{name={name:?}{labels}}}"))
}

fn calls(name: &str) -> [Option<f64>; 6] {
    let calls = |outcome| value("calls_total", name, &format!("outcome={outcome:?}"));
    OUTCOMES.map(calls)
}

fn states(name: &str) -> [Option<f64>; 6] {
    STATES.map(|state| value("state", name, &format!("state={state:?}")))
}

/// Waits until exactly this state's series is 1.
fn eventually_in(name: &str, state: &str) {
    let expected = STATES.map(|each| Some(f64::from(u8::from(each == state))));
    eventually(&format!("{name} is {state}"), || states(name) == expected);
}

fn builder(name: &str) -> tower_breaker::BreakerBuilder {
    LazyLock::force(&RECORDED);
    Breaker::builder(name)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn floats(counts: [u64; 6]) -> [Option<f64>; 6] {
    counts.map(|count| Some(count as f64))
}

#[test]
fn a_thousand_requests_are_the_same_numbers_to_the_test_the_handle_and_the_facade() {
    let breaker = builder("thousand")
        .trip_on(Trip::failure_rate(0.6, Window::calls(20)))
        .recovery_timeout(Duration::from_millis(1))
        .build()
        .unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify(classify_fn(
        |result: &Result<u64, u64>| match result {
            Ok(_) => Outcome::Success,
            Err(1) => Outcome::throttled(),
            Err(2) => Outcome::Ignore,
            Err(_) => Outcome::failure(),
        },
    ));
    let inner = service_fn(async |kind| if kind > 4 { Ok(kind) } else { Err(kind) });
    let service = layer.layer(inner);
    let mut random = Random::new(7);
    let mut seen = [0; 6];
    for _ in 0..1000 {
        let kind = random.below(12);
        if kind == 11 {
            match breaker.try_acquire() {
                Ok(permit) => {
                    permit.cancel();
                    seen[4] += 1;
                }
                Err(_) => seen[5] += 1,
            }
            continue;
        }
        let end = match block_on(service.clone().oneshot(kind)) {
            Ok(_) => 0,
            Err(error) if error.rejected().is_some() => 5,
            Err(_) => [1, 2, 3, 1, 1][usize::try_from(kind).unwrap()],
        };
        seen[end] += 1;
    }
    assert_eq!(seen.iter().sum::<u64>(), 1000);
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    assert_eq!(counted(&breaker), seen);
    eventually("the facade has them", || calls("thousand") == floats(seen));
    for step in metrics(&breaker).transitions {
        let (from, to, reason) = (step.from.as_str(), step.to.as_str(), step.reason.as_str());
        let labels = format!("from={from:?},to={to:?},reason={reason:?}");
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let count = step.count as f64;
        eventually(&labels, || value("transitions_total", "thousand", &labels) == Some(count));
    }
}

#[test]
fn a_state_that_time_alone_ends_is_reported_without_traffic() {
    let breaker = builder("quiet")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    eventually_in("quiet", "closed");
    breaker.try_acquire().unwrap().failure();
    eventually_in("quiet", "open");
    eventually_in("quiet", "half_open");
    let began = Instant::now();
    let seconds = || value("state_seconds_total", "quiet", "state=\"half_open\"");
    eventually("the time is counted", || seconds() > Some(1.0));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(metrics(&breaker).time_in(State::Open) >= Duration::from_secs(2));
}

#[test]
fn a_state_that_a_clock_of_the_users_ends_is_reported_without_traffic() {
    let clock = ManualClock::new();
    let breaker = builder("by-hand-clock")
        .trip_on(Trip::consecutive_failures(1))
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    eventually_in("by-hand-clock", "open");
    clock.advance(Duration::from_secs(60));
    eventually_in("by-hand-clock", "half_open");
}

#[test]
fn a_dropped_breaker_is_in_no_state_and_its_last_calls_are_reported() {
    let breaker = builder("dropped")
        .trip_on(Trip::failure_rate(0.5, Window::calls(10)).minimum_calls(1))
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    eventually_in("dropped", "open");
    eventually("the ratio is reported", || value("failure_ratio", "dropped", "") == Some(1.0));
    assert!(breaker.try_acquire().is_err());
    drop(breaker);
    eventually("it is in no state", || states("dropped") == [Some(0.0); 6]);
    eventually("it has no ratio", || value("failure_ratio", "dropped", "") == Some(0.0));
    assert_eq!(calls("dropped"), floats([0, 1, 0, 0, 0, 1]));

    let again = builder("dropped").build().unwrap();
    again.try_acquire().unwrap().success();
    eventually("the series go on", || calls("dropped") == floats([1, 1, 0, 0, 0, 1]));
    eventually_in("dropped", "closed");
}

/// Also if its metrics are turned off while it lives.
#[test]
fn a_breaker_whose_metrics_are_turned_off_is_in_no_state() {
    let breaker = builder("off_later").build().unwrap();
    breaker.force_open();
    eventually_in("off_later", "forced_open");
    let mut config = tower_breaker::Config::clone(&breaker.config());
    config.call_metrics = CallMetrics::Off;
    breaker.update(config.clone()).unwrap();
    eventually("no state", || states("off_later") == [Some(0.0); 6]);
    config.call_metrics = CallMetrics::Counts;
    breaker.update(config).unwrap();
    eventually_in("off_later", "forced_open");
}

#[test]
fn every_series_is_there_before_anything_happens() {
    let _breaker = builder("fresh").build().unwrap();
    eventually_in("fresh", "closed");
    assert_eq!(calls("fresh"), [Some(0.0); 6]);
    assert_eq!(value("slow_calls_total", "fresh", ""), Some(0.0));
    assert_eq!(value("probes_total", "fresh", "outcome=\"failure\""), Some(0.0));
    // Each way to open counts for the alert on circuits that open again and again.
    for (from, reason) in [
        ("closed", "consecutive_failures"),
        ("closed", "failure_rate"),
        ("closed", "slow_call_rate"),
        ("closed", "health_check"),
        ("closed", "fleet"),
        ("half_open", "probe_failed"),
        ("half_open", "probe_slow"),
        ("half_open", "probe_timeout"),
    ] {
        let trip = format!("from=\"{from}\",to=\"open\",reason=\"{reason}\"");
        assert_eq!(value("transitions_total", "fresh", &trip), Some(0.0), "{trip}");
    }
    assert_eq!(value("failure_ratio", "fresh", ""), None, "there is no such rule");
    let descriptions = RECORDED.descriptions();
    let unit = |name: &str| descriptions[&format!("circuit_breaker_{name}")].0;
    assert_eq!(unit("calls_total"), Some(Unit::Count));
    assert_eq!(unit("state_seconds_total"), Some(Unit::Seconds));
}

/// To the function `increase` of Prometheus, a series that begins with its first event has not
/// increased.
#[test]
fn what_a_group_prevents_and_does_not_record_is_counted_from_the_start() {
    LazyLock::force(&RECORDED);
    let hosts = KeyedBreakers::builder("limited").max_open_ratio(0.1).max_breakers(2);
    let hosts = hosts.build().unwrap();
    let prevented =
        |by: &str| value("would_trip_total", "limited", &format!("prevented_by={by:?}"));
    let unrecorded = || value("unrecorded_calls_total", "limited", "");
    let counts = || [prevented("max_open_ratio"), prevented("metrics_only"), unrecorded()];
    eventually("they are there as 0", || counts() == [Some(0.0); 3]);
    let fail = |key: &str| {
        let breaker = hosts.get_or_create(key).unwrap();
        (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
        breaker
    };
    assert_eq!(fail("a").state(), State::Open);
    assert_eq!(fail("b").state(), State::Closed, "one of two is more than a tenth");
    hosts.get("b").unwrap().force_open();
    assert!(hosts.get_or_create("c").is_none());
    eventually("each was counted once", || counts() == [Some(1.0), Some(0.0), Some(1.0)]);
    assert_eq!(hosts.metrics().prevented.max_open_ratio, 1);

    let single = builder("prevented").build().unwrap();
    eventually_in("prevented", "closed");
    let of_single =
        |by: &str| value("would_trip_total", "prevented", &format!("prevented_by={by:?}"));
    assert_eq!((of_single("metrics_only"), of_single("max_open_ratio")), (Some(0.0), None));
    assert_eq!(value("unrecorded_calls_total", "prevented", ""), None, "it is no group");
    single.metrics_only();
    (0..7).for_each(|_| single.try_acquire().unwrap().failure());
    eventually("it would have opened once", || of_single("metrics_only") == Some(1.0));
    assert_eq!(metrics(&single).prevented.metrics_only, 1);
}

#[test]
fn ratios_follow_a_window_of_time_without_traffic() {
    let breaker = builder("ratio")
        .trip_on(Trip::failure_rate(1.0, Window::time(Duration::from_secs(2))))
        .build()
        .unwrap();
    for failed in [true, false, false, false] {
        let permit = breaker.try_acquire().unwrap();
        if failed { permit.failure() } else { permit.success() }
    }
    let ratio = || value("failure_ratio", "ratio", "");
    eventually("it is reported", || ratio() == Some(0.25));
    eventually("it ends with the window", || ratio() == Some(0.0));
}

#[test]
fn keys_have_series_of_their_own_up_to_the_limit() {
    LazyLock::force(&RECORDED);
    let breakers = KeyedBreakers::builder("hosts").metrics_by_key(1).build().unwrap();
    for (key, calls) in [("a", 1), ("b", 2), ("c", 3)] {
        let breaker = breakers.get_or_create(key).unwrap();
        (0..calls).for_each(|_| breaker.try_acquire().unwrap().success());
    }
    let successes =
        |key: &str| value("calls_total", "hosts", &format!("key={key:?},outcome=\"success\""));
    eventually("they are reported", || {
        successes("a") == Some(1.0) && successes("other") == Some(5.0)
    });
    let keys = RECORDED.keys("circuit_breaker_calls_total{name=\"hosts\"");
    assert!(!keys.iter().any(|key| key.contains("key=\"b\"")), "{keys:?}");
    let closed = || value("state", "hosts", "key=\"other\",state=\"closed\"");
    eventually("two breakers are closed", || closed() == Some(2.0));
}

#[test]
fn a_breaker_without_metrics_has_no_series_and_a_recorder_that_panics_affects_no_other() {
    let silent = builder("silent").call_metrics(CallMetrics::Off).build().unwrap();
    let layer = CircuitBreakerLayer::new(silent);
    let inner = service_fn(async |(): ()| Ok::<_, Infallible>(()));
    block_on(layer.layer(inner).oneshot(())).unwrap();
    let _panics = builder(PANICS).build().unwrap();
    let _after = builder("zz-after-the-panic").build().unwrap();
    eventually_in("zz-after-the-panic", "closed");
    assert_eq!(RECORDED.keys("name=\"silent\""), Vec::<String>::new());
}

#[test]
fn counters_are_exact_although_the_recorder_panics_at_every_gauge() {
    let breaker = builder(PANICS_AT_GAUGES).build().unwrap();
    (0..3).for_each(|_| breaker.try_acquire().unwrap().success());
    eventually("the calls are reported", || calls(PANICS_AT_GAUGES)[0] >= Some(3.0));
    let seconds = || value("state_seconds_total", PANICS_AT_GAUGES, "state=\"closed\"");
    // The calls are recorded before the seconds of the same report.
    let enough = seconds().unwrap_or(0.0) + 2.0;
    eventually("they are reported again", || seconds() >= Some(enough));
    assert_eq!(calls(PANICS_AT_GAUGES), floats([3, 0, 0, 0, 0, 0]));
    assert_eq!(states(PANICS_AT_GAUGES), [None; 6]);
}

#[derive(Clone, Default)]
struct PanicsOnce(Arc<AtomicBool>);

impl Clock for PanicsOnce {
    fn now(&self) -> Duration {
        assert!(!self.0.swap(false, SeqCst), "this test provokes a panic");
        SystemClock.now()
    }
}

#[test]
fn a_clock_that_panics_once_does_not_end_what_is_reported() {
    let clock = PanicsOnce::default();
    let rule = Trip::failure_rate(0.9, Window::time(Duration::from_secs(60)));
    let breaker = builder("clock-panics").trip_on(rule).clock(clock.clone()).build().unwrap();
    eventually_in("clock-panics", "closed");
    clock.0.store(true, SeqCst);
    eventually("the clock has panicked", || !clock.0.load(SeqCst));
    breaker.try_acquire().unwrap().success();
    eventually("its calls are reported", || calls("clock-panics")[0] == Some(1.0));
}
