use super::*;

#[tokio::test(start_paused = true)]
async fn a_rejection_as_an_error_is_never_retried_and_spends_no_budget() {
    let budget = ten();
    for _ in 0..20 {
        let policy = RetryPolicy::new(ErrorsAsFailures).budget(Arc::clone(&budget));
        let rejection = || Err::<(), Error<io::Error>>(Error::Rejected(rejected()));
        let (calls, result) = attempts(policy, 7, rejection).await;
        assert_eq!(calls, 1);
        assert_eq!(result.unwrap_err().rejected().unwrap().state(), State::ForcedOpen);
    }
    assert_eq!(left(&budget), 10);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_in_a_boxed_error_is_never_retried_and_spends_no_budget() {
    let budget = ten();
    let forms: [fn() -> BoxError; 5] = [
        || rejected().into(),
        || Error::<Infallible>::Rejected(rejected()).into(),
        || Wrapped(Wrapped(rejected().into()).into()).into(),
        || io::Error::other(rejected()).into(),
        || io::Error::new(ErrorKind::ConnectionReset, Wrapped(rejected().into())).into(),
    ];
    for form in forms {
        let policy = RetryPolicy::new(ErrorsAsFailures).budget(Arc::clone(&budget));
        assert_eq!(attempts(policy, 7, || Err::<(), _>(form())).await.0, 1);
        let policy = RetryPolicy::network().budget(Arc::clone(&budget));
        let result = || Err::<Response<()>, _>(form());
        assert_eq!(attempts(policy, get(), result).await.0, 1);
        let policy = RetryPolicy::network().budget(Arc::clone(&budget));
        let result = || Err::<Response<()>, _>(Error::Inner(form()));
        assert_eq!(attempts(policy, get(), result).await.0, 1);
    }
    assert_eq!(left(&budget), 10);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_as_a_response_is_never_retried_and_spends_no_budget() {
    let budget = ten();
    let rejection = || {
        let mut response = asks(503, "1");
        response.extensions_mut().insert(rejected());
        Ok::<_, Infallible>(response)
    };
    for _ in 0..10 {
        let policy = RetryPolicy::network().budget(Arc::clone(&budget));
        assert_eq!(attempts(policy, get(), rejection).await.0, 1);
        let policy = RetryPolicy::http(ServerErrorsAsFailures).budget(Arc::clone(&budget));
        assert_eq!(attempts(policy, get(), rejection).await.0, 1);
    }
    assert_eq!(left(&budget), 10);
}

#[test]
fn a_rejection_is_found_inside_an_io_error() {
    let error = io::Error::other(io::Error::other(rejected()));
    assert_eq!(Rejected::find(&error).unwrap().name(), "rejects");
    assert!(!retry::is_transient(&io::Error::new(ErrorKind::TimedOut, rejected())));
}
