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
    let [well, ill] = ["well", "ill"].map(SickStore::labelled);
    let [breaker, ill_one] =
        [&well, &ill].map(|store| Breaker::builder("one").store(store.clone()).build().unwrap());
    breaker.flush().await.unwrap();
    ill.show(Symptom::Fails);
    ill_one.flush().await.unwrap_err();
    // Until the gauges have been set, without a recorder.
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let recorded = Recorded::install();
    let gauges = |label: &str| {
        let label = format!("store={label:?}");
        (recorded.value("healthy", &label), recorded.value("pending", &label))
    };
    eventually("the gauges of the healthy store are set", || {
        gauges("well") == (Some(1.0), Some(0.0))
    });
    eventually("the gauges of the failing store are set", || {
        gauges("ill") == (Some(0.0), Some(1.0))
    });
    assert_eq!(recorded.descriptions().len(), 5);
    assert_eq!(
        recorded.value("writes_total", "store=\"well\",result=\"ok\""),
        Some(0.0),
        "it counts what it has seen"
    );
    breaker.flush().await.unwrap();
    assert_eq!(recorded.value("writes_total", "store=\"well\",result=\"ok\""), Some(1.0));
}
