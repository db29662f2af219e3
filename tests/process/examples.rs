//! The examples, told to their end: each checks what it says.

#[path = "../../examples/fallback.rs"]
#[allow(dead_code, reason = "its `main` is for those who start it alone")]
mod fallback;
#[path = "../../examples/axum.rs"]
#[allow(dead_code, reason = "its `main` is for those who start it alone")]
mod with_axum;
#[path = "../../examples/hyper.rs"]
#[allow(dead_code, reason = "its `main` is for those who start it alone")]
mod with_hyper;
#[path = "../../examples/reqwest.rs"]
#[allow(dead_code, reason = "its `main` is for those who start it alone")]
mod with_reqwest;

#[tokio::test]
async fn the_story_of_axum_is_true() {
    with_axum::story().await.unwrap();
}

#[tokio::test]
async fn the_story_of_hyper_is_true() {
    with_hyper::story().await.unwrap();
}

#[tokio::test]
async fn the_story_of_reqwest_is_true() {
    with_reqwest::story().await.unwrap();
}

#[tokio::test]
async fn the_story_of_the_fallback_is_true() {
    fallback::story().await.unwrap();
}
