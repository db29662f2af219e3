//! A recorder that is installed when all is running already. It has a process of its own, as there is only one.

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
async fn a_recorder_that_comes_late_is_told_how_things_are_though_nothing_happens() {
    let [well, ill] = ["well", "ill"].map(SickStore::labelled);
    let [breaker, ill_one] =
        [&well, &ill].map(|store| Breaker::builder("one").store(store.clone()).build().unwrap());
    breaker.flush().await.unwrap();
    ill.show(Symptom::Fails);
    ill_one.flush().await.unwrap_err();
    // Until what was done has been told, to nobody.
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let recorded = Recorded::install();
    let gauges = |label: &str| {
        let label = format!("store={label:?}");
        (recorded.value("healthy", &label), recorded.value("pending", &label))
    };
    eventually("the healthy store is told", || gauges("well") == (Some(1.0), Some(0.0)));
    eventually("so is the other", || gauges("ill") == (Some(0.0), Some(1.0)));
    assert_eq!(recorded.descriptions().len(), 5);
    assert_eq!(
        recorded.value("writes_total", "store=\"well\",result=\"ok\""),
        Some(0.0),
        "it counts what it has seen"
    );
    breaker.flush().await.unwrap();
    assert_eq!(recorded.value("writes_total", "store=\"well\",result=\"ok\""), Some(1.0));
}
