//! The presets for APIs with a limit and for databases, on paused time.

use std::borrow::Cow;

use super::*;

/// The delays between the attempts of a request that ends like this each time.
async fn delays<P, Req, T, E>(
    policy: P,
    request: Req,
    answer: impl Fn() -> Result<T, E>,
) -> Vec<Duration>
where
    P: Policy<Req, T, E> + Clone,
{
    let log = Log::default();
    let service = service_fn(|_: Req| {
        log.note();
        std::future::ready(answer())
    });
    let service = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service);
    let _ = service.oneshot(request).await;
    log.waits()
}

/// The delays are from `first` up to twice as long, and double each time. Timers have a resolution
/// of a millisecond, and round up.
fn assert_doubling(delays: &[Duration], first: Duration, plus: Duration) {
    for (retry, delay) in delays.iter().enumerate() {
        let step = first * 2_u32.pow(u32::try_from(retry).unwrap());
        let range = plus + step..=plus + step * 2 + MILLI;
        assert!(range.contains(delay), "retry {retry}: {delay:?} is not within {range:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limited_retries_what_network_does_with_the_delays_of_a_limit() {
    for status in 200..=599 {
        let result = || Ok::<_, Infallible>(answer(status));
        let waited = delays(RetryPolicy::rate_limited(), get(), result).await;
        let retries = if [408, 429, 502, 503, 504].contains(&status) { 4 } else { 0 };
        assert_eq!(waited.len(), retries, "{status}");
        assert_doubling(&waited, SECOND, Duration::ZERO);
    }
    let reset = || Err::<Response<()>, _>(io::Error::from(ErrorKind::ConnectionReset));
    assert_eq!(delays(RetryPolicy::rate_limited(), get(), reset).await.len(), 4);
    let denied = || Err::<Response<()>, _>(io::Error::from(ErrorKind::PermissionDenied));
    assert_eq!(delays(RetryPolicy::rate_limited(), get(), denied).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn rate_limited_waits_for_a_retry_after_of_up_to_a_minute() {
    for status in [429, 503] {
        let result = || Ok::<_, Infallible>(asks(status, "60"));
        let waited = delays(RetryPolicy::rate_limited(), get(), result).await;
        assert_eq!(waited.len(), 4);
        assert_doubling(&waited, SECOND, SECOND * 60);
        let result = || Ok::<_, Infallible>(asks(status, "61"));
        assert_eq!(delays(RetryPolicy::rate_limited(), get(), result).await.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_is_repeated_with_every_method_and_nothing_else_is() {
    for method in [Method::POST, Method::PATCH, Method::PUT, Method::GET] {
        let request = || with_method(method.clone());
        let result = || Ok::<_, Infallible>(answer(429));
        assert_eq!(delays(RetryPolicy::rate_limited(), request(), result).await.len(), 4);
        let expected = if method.is_idempotent() { 4 } else { 0 };
        let result = || Ok::<_, Infallible>(asks(503, "1"));
        assert_eq!(delays(RetryPolicy::rate_limited(), request(), result).await.len(), expected);
        let reset = || Err::<Response<()>, _>(io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!(delays(RetryPolicy::rate_limited(), request(), reset).await.len(), expected);
        // `network` sends what may have been done only once, whatever the status.
        let result = || Ok::<_, Infallible>(answer(429));
        let expected = if method.is_idempotent() { 2 } else { 0 };
        assert_eq!(delays(RetryPolicy::network(), request(), result).await.len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limited_can_be_extended() {
    let policy = RetryPolicy::rate_limited().also_statuses(StatusCode::FORBIDDEN).max_attempts(7);
    let result = || Ok::<_, Infallible>(answer(403));
    let waited = delays(policy, get(), result).await;
    assert_eq!(waited.len(), 6);
    assert_doubling(&waited[..5], SECOND, Duration::ZERO);
    // The longest step, and as much jitter.
    assert!((SECOND * 20..=SECOND * 40 + MILLI).contains(&waited[5]), "{waited:?}");
}

/// An error of a database client.
#[derive(Debug)]
struct Refused(Cow<'static, str>);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused with {}", self.0)
    }
}

impl StdError for Refused {}

fn sqlstate<'a>(cause: &'a (dyn StdError + 'static)) -> Option<Cow<'a, str>> {
    Some((&*cause.downcast_ref::<Refused>()?.0).into())
}

/// The attempts of a transaction that ends with this error each time.
async fn transaction(policy: &RetryPolicy<retry::Database>, error: impl Fn() -> BoxError) -> usize {
    let failing = || Err::<(), _>(Wrapped(error()));
    let waited = delays(policy.clone(), "transfer", failing).await;
    assert_doubling(&waited, MILLI * 50, Duration::ZERO);
    waited.len() + 1
}

const ROLLED_BACK: [&str; 13] = [
    "40000", "40001", "40P01", "55P03", "55006", "53000", "53200", "53300", "57P01", "57P03",
    "57P05", "08001", "08004",
];
const UNKNOWN: [&str; 6] = ["40003", "08000", "08003", "08006", "08007", "57P02"];
const FINAL: [&str; 14] = [
    "40002", "23505", "23P01", "42601", "42P01", "22012", "53100", "53400", "57014", "57P04",
    "58030", "08P01", "4000", "",
];

#[tokio::test(start_paused = true)]
async fn transactions_that_were_rolled_back_are_repeated() {
    let policy = RetryPolicy::database(sqlstate);
    let idempotent = policy.clone().idempotent();
    let attempts = async |policy, code: &'static str| {
        transaction(policy, || Refused(code.into()).into()).await
    };
    for code in ROLLED_BACK {
        assert_eq!(attempts(&policy, code).await, 5, "{code}");
        assert_eq!(attempts(&idempotent, code).await, 5, "{code}");
    }
    for code in UNKNOWN {
        assert_eq!(attempts(&policy, code).await, 1, "{code}");
        assert_eq!(attempts(&idempotent, code).await, 5, "{code}");
    }
    for code in FINAL {
        assert_eq!(attempts(&policy, code).await, 1, "{code}");
        assert_eq!(attempts(&idempotent, code).await, 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_connection_was_lost_is_repeated_only_if_it_is_idempotent() {
    let policy = RetryPolicy::database(sqlstate);
    let idempotent = policy.clone().idempotent();
    for kind in [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::TimedOut] {
        let lost = || io::Error::from(kind).into();
        assert_eq!(transaction(&policy, lost).await, 1, "{kind}");
        assert_eq!(transaction(&idempotent, lost).await, 5, "{kind}");
    }
    let refused = || io::Error::from(ErrorKind::ConnectionRefused).into();
    assert_eq!(transaction(&policy, refused).await, 5);
    let other = || io::Error::from(ErrorKind::InvalidData).into();
    assert_eq!(transaction(&idempotent, other).await, 1);
}

#[tokio::test(start_paused = true)]
async fn presets_leave_rejections_alone() {
    let budget = ten();
    let result = || Err::<Response<()>, Error<io::Error>>(Error::Rejected(rejected()));
    let policy = RetryPolicy::rate_limited().budget(Arc::clone(&budget));
    assert_eq!(attempts(policy.clone(), get(), result).await.0, 1);
    let as_response = || {
        let mut response = asks(429, "1");
        response.extensions_mut().insert(rejected());
        Ok::<_, Infallible>(response)
    };
    let policy = RetryPolicy::rate_limited().budget(Arc::clone(&budget));
    assert_eq!(attempts(policy, get(), as_response).await.0, 1);

    // Also if the closure has a SQLSTATE for everything.
    let policy = RetryPolicy::database(|_| Some("40001".into())).budget(Arc::clone(&budget));
    let result = || Err::<(), Error<io::Error>>(Error::Rejected(rejected()));
    assert_eq!(attempts(policy.clone(), (), result).await.0, 1);
    let further_in = || Err::<(), Error<BoxError>>(Error::Inner(rejected().into()));
    let policy = RetryPolicy::database(|_| Some("40001".into())).budget(Arc::clone(&budget));
    assert_eq!(attempts(policy, (), further_in).await.0, 1);
    assert_eq!(left(&budget), 10, "a rejection changes no budget");
}

#[tokio::test(start_paused = true)]
async fn a_constraint_violation_fills_the_budget_as_a_success_does() {
    let budget = ten();
    let policy = RetryPolicy::database(sqlstate).budget(Arc::clone(&budget));
    let violation = || Err::<(), _>(Refused("23505".into()));
    assert_eq!(attempts(policy.clone(), (), violation).await.0, 1);
    assert_eq!(left(&budget), 11);
}
