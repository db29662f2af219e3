use super::*;

const TRANSIENT: [ErrorKind; 6] = [
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionAborted,
    ErrorKind::TimedOut,
    ErrorKind::BrokenPipe,
    ErrorKind::UnexpectedEof,
];

#[tokio::test(start_paused = true)]
async fn transient_errors_are_tried_three_times_at_any_depth_of_the_chain() {
    for kind in TRANSIENT {
        let forms: [&(dyn Fn() -> BoxError + Sync); 3] = [
            &|| io::Error::from(kind).into(),
            &|| Wrapped(Wrapped(io::Error::from(kind).into()).into()).into(),
            &|| io::Error::other(io::Error::from(kind)).into(),
        ];
        for form in forms {
            let result = || Err::<Response<()>, _>(form());
            let (calls, result) = attempts(RetryPolicy::network(), get(), result).await;
            assert_eq!(calls, 3, "{:?}", result.unwrap_err());
            let result = || Err::<Response<()>, _>(Error::Inner(form()));
            assert_eq!(attempts(RetryPolicy::network(), get(), result).await.0, 3);
        }
        let result = || Err::<Response<()>, _>(io::Error::from(kind));
        assert_eq!(attempts(RetryPolicy::network(), get(), result).await.0, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn other_errors_are_not_retried() {
    let others = [ErrorKind::PermissionDenied, ErrorKind::InvalidData, ErrorKind::Other];
    for kind in others {
        let result = || Err::<Response<()>, _>(io::Error::from(kind));
        assert_eq!(attempts(RetryPolicy::network(), get(), result).await.0, 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_one_attempt_is_retried() {
    let log = Log::default();
    let hangs = service_fn(|_: Request<()>| {
        log.note();
        std::future::pending::<Result<Response<()>, Infallible>>()
    });
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::network()))
        .timeout(SECOND)
        .service(hangs);
    service.oneshot(get()).await.unwrap_err();
    assert_eq!(log.calls(), 3);

    let elapsed = tokio::time::timeout(MILLI, std::future::pending::<()>()).await.unwrap_err();
    assert!(retry::is_transient(&elapsed));
}

#[tokio::test(start_paused = true)]
async fn only_transient_statuses_are_tried_three_times() {
    for status in 200..=599 {
        let result = || Ok::<_, Infallible>(answer(status));
        let (calls, result) = attempts(RetryPolicy::network(), get(), result).await;
        let expected = if [408, 429, 502, 503, 504].contains(&status) { 3 } else { 1 };
        assert_eq!(calls, expected, "{status}");
        assert_eq!(result.unwrap().status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn the_retry_condition_can_be_customised() {
    let answers = |status| move || Ok::<_, io::Error>(answer(status));
    let policy = RetryPolicy::network().also_statuses(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(attempts(policy.clone(), get(), answers(500)).await.0, 3);
    assert_eq!(attempts(policy.clone(), get(), answers(503)).await.0, 3);
    assert_eq!(attempts(policy, get(), answers(501)).await.0, 1);

    let policy = RetryPolicy::network().also_methods(|method| method == Method::PATCH);
    let patch = with_method(Method::PATCH);
    assert_eq!(attempts(policy.clone(), patch, answers(503)).await.0, 3);
    assert_eq!(attempts(policy, with_method(Method::POST), answers(503)).await.0, 1);

    let policy =
        RetryPolicy::network().also_errors(|cause| cause.downcast_ref() == Some(&std::fmt::Error));
    let odd = || Err::<Response<()>, _>(io::Error::other(Wrapped(std::fmt::Error.into())));
    assert_eq!(attempts(policy.clone(), get(), odd).await.0, 3);
    let other = || Err::<Response<()>, _>(io::Error::other("other"));
    assert_eq!(attempts(policy, get(), other).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_methods_are_retried_unless_the_connection_was_refused() {
    let idempotent = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
    for name in idempotent.into_iter().chain(["POST", "PATCH", "CONNECT", "BREW"]) {
        let method: Method = name.parse().unwrap();
        let expected = if idempotent.contains(&name) { 3 } else { 1 };
        let request = || with_method(method.clone());
        let reset = || Err::<Response<()>, _>(io::Error::from(ErrorKind::ConnectionReset));
        let (calls, _) = attempts(RetryPolicy::network(), request(), reset).await;
        assert_eq!(calls, expected, "{name}, reset");
        let unavailable = || Ok::<_, Infallible>(answer(503));
        let (calls, _) = attempts(RetryPolicy::network(), request(), unavailable).await;
        assert_eq!(calls, expected, "{name}, unavailable");
        let refused = || {
            let refused = io::Error::from(ErrorKind::ConnectionRefused);
            Err::<Response<()>, BoxError>(Wrapped(refused.into()).into())
        };
        let (calls, _) = attempts(RetryPolicy::network(), request(), refused).await;
        assert_eq!(calls, 3, "{name}, refused");
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_of_attempts_is_as_configured() {
    for (max, expected) in [(0, 1), (1, 1), (2, 2), (3, 3), (10, 10)] {
        let policy = RetryPolicy::new(ErrorsAsFailures).max_attempts(max);
        let result = || Err::<(), _>(io::Error::other("down"));
        assert_eq!(attempts(policy, (), result).await.0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_for_each_request_separately() {
    let log = Log::default();
    let service = service_fn(|(): ()| {
        log.note();
        async { Err::<(), _>(io::Error::other("down")) }
    });
    let policy = RetryPolicy::new(ErrorsAsFailures);
    let mut service = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service);
    for request in 1..=4 {
        service.ready().await.unwrap().call(()).await.unwrap_err();
        assert_eq!(log.calls(), 3 * request);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_is_not_retried() {
    let log = Log::default();
    let service = service_fn(|(): ()| {
        let call = log.note();
        async move { if call < 3 { Err(io::Error::other("down")) } else { Ok(call) } }
    });
    let policy = RetryPolicy::new(ErrorsAsFailures).max_attempts(9);
    let service = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service);
    assert_eq!(service.oneshot(()).await.unwrap(), 3);
    assert_eq!(log.calls(), 3);
}
