//! A metrics recorder that is installed late, and has no size, as the facade's own that does
//! nothing. A binary of its own: a process has one recorder.

#[path = "support/recorder.rs"]
mod recorder;
#[path = "support/mod.rs"]
mod support;

use std::{sync::LazyLock, time::Duration};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use recorder::Recorded;
use support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};
use tower_breaker::{Breaker, KeyedBreakers};

static RECORDED: LazyLock<Recorded> = LazyLock::new(Recorded::default);

struct Unsized;

impl Recorder for Unsized {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        RECORDED.describe_counter(name, unit, text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        RECORDED.describe_gauge(name, unit, text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        RECORDED.describe_histogram(name, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        RECORDED.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        RECORDED.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        RECORDED.register_histogram(key, metadata)
    }
}

#[tokio::test]
async fn a_late_recorder_gets_the_gauges_although_nothing_changes() {
    let [healthy, failing] = ["healthy", "failing"].map(SickStore::labelled);
    let early = Breaker::builder("early").build().unwrap();
    early.try_acquire().unwrap().success();
    early.force_open();
    let without_calls: Vec<_> = ["quiet", "by hand", "twice", "twice"]
        .map(|name| Breaker::builder(name).build().unwrap())
        .into();
    without_calls[1].force_open();
    without_calls[1].disable();
    let keyed = KeyedBreakers::builder("keyed").metrics_by_key(1).build().unwrap();
    let keys = ["a", "b"].map(|key| keyed.get_or_create(key).unwrap());
    keys[1].force_open();
    let gone = Breaker::builder("gone").build().unwrap();
    gone.try_acquire().unwrap().success();
    drop(gone);
    let [breaker, ill_one] = [&healthy, &failing]
        .map(|store| Breaker::builder("one").store(store.clone()).build().unwrap());
    breaker.flush().await.unwrap();
    failing.show(Symptom::Fails);
    ill_one.flush().await.unwrap_err();
    // Until the gauges have been set, without a recorder.
    tokio::time::sleep(Duration::from_millis(1500)).await;

    assert!(metrics::set_global_recorder(Unsized).is_ok());
    assert!(metrics::set_global_recorder(Unsized).is_err(), "the first one stays");
    let recorded = &*RECORDED;
    let gauges = |label: &str| {
        let label = format!("store={label:?}");
        (recorded.value("healthy", &label), recorded.value("pending", &label))
    };
    eventually("the gauges of the healthy store are set", || {
        gauges("healthy") == (Some(1.0), Some(0.0))
    });
    eventually("the gauges of the failing store are set", || {
        gauges("failing") == (Some(0.0), Some(1.0))
    });
    let descriptions = recorded.descriptions();
    let of_stores = descriptions.keys().filter(|name| name.starts_with("circuit_breaker_store_"));
    assert_eq!(of_stores.count(), 5);
    assert_eq!(
        recorded.value("writes_total", "store=\"healthy\",result=\"ok\""),
        Some(0.0),
        "it counts what it has seen"
    );
    breaker.flush().await.unwrap();
    assert_eq!(recorded.value("writes_total", "store=\"healthy\",result=\"ok\""), Some(1.0));

    eventually("the breaker that was built before has all its numbers", || {
        let success = "circuit_breaker_calls_total{name=\"early\",outcome=\"success\"}";
        let forced = "circuit_breaker_state{name=\"early\",state=\"forced_open\"}";
        recorded.of(success) == Some(1.0) && recorded.of(forced) == Some(1.0)
    });
    let by_hand = "circuit_breaker_transitions_total\
                   {name=\"early\",from=\"closed\",to=\"forced_open\",reason=\"manual\"}";
    assert_eq!(recorded.of(by_hand), Some(1.0));
    let state = |labels: &str, state: &str| {
        recorded.of(&format!("circuit_breaker_state{{{labels},state={state:?}}}"))
    };
    eventually("breakers that had no call have their states", || {
        state("name=\"quiet\"", "closed") == Some(1.0)
            && state("name=\"by hand\"", "disabled") == Some(1.0)
            && state("name=\"twice\"", "closed") == Some(2.0)
            && state("name=\"keyed\",key=\"a\"", "closed") == Some(1.0)
            && state("name=\"keyed\",key=\"other\"", "forced_open") == Some(1.0)
    });
    assert_eq!(state("name=\"by hand\"", "closed"), Some(0.0));
    let steps = recorded.keys("circuit_breaker_transitions_total{name=\"by hand\"");
    let steps: f64 = steps.iter().filter_map(|key| recorded.of(key)).sum();
    assert!((2.0..=2.0).contains(&steps), "{steps} transitions");
    eventually("the time is that since the breaker was built", || {
        let key = "circuit_breaker_state_seconds_total{name=\"quiet\",state=\"closed\"}";
        recorded.of(key) >= Some(2.0)
    });
    without_calls[0].try_acquire().unwrap().success();
    let last = Breaker::builder("last").build().unwrap();
    last.try_acquire().unwrap().failure();
    drop(last);
    eventually("calls after that are counted", || {
        let calls = |name: &str, outcome: &str| {
            let labels = format!("{{name={name:?},outcome={outcome:?}}}");
            recorded.of(&format!("circuit_breaker_calls_total{labels}"))
        };
        calls("quiet", "success") == Some(1.0) && calls("last", "failure") == Some(1.0)
    });
    // Of one that is gone, nothing is known any more.
    assert_eq!(recorded.keys("name=\"gone\""), Vec::<String>::new());
}
