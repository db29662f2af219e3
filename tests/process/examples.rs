//! The examples: each checks its own results.

#[path = "../../examples/balance.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod balance;
#[path = "../../examples/fallback.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod fallback;
#[path = "../../examples/axum.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod with_axum;
#[path = "../../examples/hyper.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod with_hyper;
#[path = "../../examples/reqwest.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod with_reqwest;

#[tokio::test]
async fn the_axum_example_runs() {
    with_axum::run().await.unwrap();
}

#[tokio::test]
async fn the_hyper_example_runs() {
    with_hyper::run().await.unwrap();
}

#[tokio::test]
async fn the_reqwest_example_runs() {
    with_reqwest::run().await.unwrap();
}

#[tokio::test]
async fn the_fallback_example_runs() {
    fallback::run().await.unwrap();
}

#[tokio::test]
async fn the_balance_example_runs() {
    balance::run().await.unwrap();
}
