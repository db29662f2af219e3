use super::*;

#[tokio::test(start_paused = true)]
async fn a_spent_budget_stops_retries() {
    let budget = ten();
    let policy = RetryPolicy::new(ErrorsAsFailures).budget(Arc::clone(&budget));
    let down = || Err::<(), _>(io::Error::other("down"));
    // Ten retries: two for each of five requests, all within the ten seconds of the budget.
    for _ in 0..5 {
        assert_eq!(attempts(policy.clone(), (), down).await.0, 3);
    }
    assert_eq!(attempts(policy.clone(), (), down).await.0, 1);
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(attempts(policy, (), down).await.0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_success_adds_to_the_budget_and_a_final_failure_does_not() {
    let budget = ten();
    let policy = RetryPolicy::network().max_attempts(1).budget(Arc::clone(&budget));
    let answers = |status| move || Ok::<_, Infallible>(answer(status));
    attempts(policy.clone(), get(), answers(503)).await.1.unwrap();
    attempts(policy.clone(), with_method(Method::POST), answers(503)).await.1.unwrap();
    for _ in 0..3 {
        attempts(policy.clone(), get(), answers(200)).await.1.unwrap();
    }
    attempts(policy, get(), answers(404)).await.1.unwrap();
    assert_eq!(left(&budget), 14);
}

#[tokio::test(start_paused = true)]
async fn the_services_of_a_layer_share_the_budget() {
    let layer = RetryLayer::new(RetryPolicy::new(ErrorsAsFailures).budget(ten()));
    let log = Log::default();
    for _ in 0..20 {
        let down = service_fn(|(): ()| {
            log.note();
            async { Err::<(), _>(io::Error::other("down")) }
        });
        ServiceBuilder::new().layer(layer.clone()).service(down).oneshot(()).await.unwrap_err();
    }
    assert_eq!(log.calls(), 20 + 10);
}
