//! A metrics recorder that is installed late. A binary of its own: a process has one recorder.

#[path = "support/recorder.rs"]
mod recorder;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use recorder::Recorded;
use support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};
use tower_breaker::Breaker;

#[tokio::test]
async fn a_late_recorder_gets_the_gauges_although_nothing_changes() {
    let [healthy, failing] = ["healthy", "failing"].map(SickStore::labelled);
    let early = Breaker::builder("early").build().unwrap();
    early.try_acquire().unwrap().success();
    early.force_open();
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

    let recorded = Recorded::install();
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
    // Of one that is gone, nothing is known any more.
    assert_eq!(recorded.keys("name=\"gone\""), Vec::<String>::new());
}
