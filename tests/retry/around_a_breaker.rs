use super::*;

fn breaker(failures: u32) -> tower_breaker::CircuitBreakerLayerBuilder {
    CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(failures))
        .clock(tower_breaker::clock::TokioClock::new())
}

/// Responds with these statuses in turn, and then with 200.
fn upstream(
    log: &Log,
    statuses: &'static [u16],
) -> BoxCloneSyncService<Request<()>, Response<String>, Infallible> {
    let log = log.clone();
    BoxCloneSyncService::new(service_fn(move |_| {
        let status = statuses.get(log.note() - 1).copied().unwrap_or(200);
        async move { Ok(answer(status)) }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_rejection_between_attempts_is_returned_at_once() {
    let (log, budget) = (Log::default(), ten());
    let policy = RetryPolicy::network().max_attempts(9).budget(Arc::clone(&budget));
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy))
        .layer(breaker(2).classify(ServerErrorsAsFailures).build().unwrap())
        .service(upstream(&log, &[503, 503]));
    let began = Instant::now();
    let error = service.ready().await.unwrap().call(get()).await.unwrap_err();
    assert_eq!(error.rejected().unwrap().name(), "upstream");
    // One wait before the second and one before the third attempt, and no more.
    assert!(began.elapsed() < 400 * MILLI, "{:?}", began.elapsed());
    assert_eq!(log.calls(), 2);
    let began = Instant::now();
    for _ in 0..20 {
        service.ready().await.unwrap().call(get()).await.unwrap_err().rejected().unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(log.calls(), 2);
    assert_eq!(left(&budget), 8);
}

#[tokio::test(start_paused = true)]
async fn a_503_of_the_upstream_is_retried_and_one_of_the_breaker_is_not() {
    let log = Log::default();
    let layer = breaker(3).http().build().unwrap();
    let handle = layer.breaker().clone();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::network()))
        .layer(layer)
        .service(upstream(&log, &[503, 503, 200, 503]));
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!((response.status(), log.calls()), (StatusCode::OK, 3));
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!((response.status(), log.calls()), (StatusCode::OK, 5));
    handle.force_open();
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!((response.status(), log.calls()), (StatusCode::SERVICE_UNAVAILABLE, 5));
    assert_eq!(response.extensions().get::<Rejected>().unwrap().name(), "upstream");
}

#[tokio::test(start_paused = true)]
async fn the_recommended_order_of_layers_has_one_error_type() {
    let log = Log::default();
    let hangs_at_first = service_fn(|_: Request<()>| {
        let call = log.note();
        async move {
            if call < 3 {
                std::future::pending::<()>().await;
            }
            Ok::<_, io::Error>(answer(200))
        }
    });
    let layer = breaker(3).reject_with(RejectAsBoxError).build().unwrap();
    let handle = layer.breaker().clone();
    let mut service = ServiceBuilder::new()
        .timeout(60 * SECOND)
        .layer(RetryLayer::new(RetryPolicy::network()))
        .layer(layer)
        .timeout(SECOND)
        .service(hangs_at_first);
    service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!(log.calls(), 3);
    handle.force_open();
    let error = service.ready().await.unwrap().call(get()).await.unwrap_err();
    assert_eq!(Rejected::find(&*error).unwrap().state(), State::ForcedOpen);
    assert_eq!(log.calls(), 3);
}
