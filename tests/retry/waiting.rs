use super::*;

/// The delays between the attempts of a request if each attempt ends like this.
async fn waits<P, T, E>(policy: P, result: impl Fn() -> Result<T, E>) -> Vec<Duration>
where
    P: Policy<Request<()>, T, E> + Clone,
{
    let log = Log::default();
    let service = service_fn(|_: Request<()>| {
        log.note();
        std::future::ready(result())
    });
    let service = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service);
    let _ = service.oneshot(get()).await;
    log.waits()
}

/// Timers have a resolution of a millisecond, and round up.
fn assert_within(wait: Duration, range: Range<u64>) {
    let range = MILLI * u32::try_from(range.start).unwrap()
        ..=MILLI * u32::try_from(range.end).unwrap() + MILLI;
    assert!(range.contains(&wait), "{wait:?} is not within {range:?}");
}

#[expect(clippy::unnecessary_wraps, reason = "the result of a service")]
fn unavailable() -> Result<Response<String>, Infallible> {
    Ok(answer(503))
}

#[tokio::test(start_paused = true)]
async fn waits_double_from_50_ms_and_jitter_at_most_doubles_them() {
    for _ in 0..50 {
        let waits = waits(RetryPolicy::network(), unavailable).await;
        assert_eq!(waits.len(), 2);
        assert_within(waits[0], 50..100);
        assert_within(waits[1], 100..200);
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_as_configured() {
    let policy = RetryPolicy::network().max_attempts(7).backoff(SECOND, 10 * SECOND, 0.0).unwrap();
    let waits = waits(policy, unavailable).await;
    assert_eq!(waits.len(), 6);
    for (wait, seconds) in waits.into_iter().zip([1, 2, 4, 8, 10, 10]) {
        assert_within(wait, seconds * 1000..seconds * 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn long_steps_and_the_longest_step_have_jitter_too() {
    let policy = RetryPolicy::network().max_attempts(4).backoff(SECOND, 2 * SECOND, 0.5).unwrap();
    let mut drawn = Vec::new();
    for _ in 0..20 {
        let waits = waits(policy.clone(), unavailable).await;
        assert_within(waits[0], 1000..1500);
        assert_within(waits[1], 2000..3000);
        assert_within(waits[2], 2000..3000);
        drawn.push(waits);
    }
    for attempt in 0..3 {
        let middle = if attempt == 0 { 1250 * MILLI } else { 2500 * MILLI };
        assert!(drawn.iter().any(|waits| waits[attempt] < middle), "{drawn:?}");
        assert!(drawn.iter().any(|waits| waits[attempt] > middle), "{drawn:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_requests_have_different_waits() {
    let policy = RetryPolicy::network().backoff(SECOND, 100 * SECOND, 1.0).unwrap();
    let first = waits(policy.clone(), unavailable).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(waits(policy.clone(), unavailable).await);
    }
    assert!(others.iter().any(|other| *other != first), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_at_least_the_retry_after_of_the_response() {
    for status in [429, 503] {
        for retry_after in [1, 7, 30] {
            let asks = || Ok::<_, Infallible>(asks(status, &retry_after.to_string()));
            for policy in [RetryPolicy::network(), RetryPolicy::network().max_attempts(4)] {
                let waits = waits(policy, asks).await;
                assert!(waits.len() > 1);
                assert_within(waits[0], retry_after * 1000 + 50..retry_after * 1000 + 100);
                assert_within(waits[1], retry_after * 1000 + 100..retry_after * 1000 + 200);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_at_least_the_retry_after_of_the_classifier() {
    let says = Outcome::failure().with_retry_after(3 * SECOND);
    let policy = RetryPolicy::new(move |_: &Result<u8, io::Error>| says);
    let waited = waits(policy, || Ok(0)).await;
    assert_within(waited[0], 3050..3100);

    // Even if the response requests another delay.
    let says = Outcome::throttled().with_retry_after(2 * SECOND);
    let policy = RetryPolicy::http(move |_: &Result<Response<String>, Infallible>| says);
    assert_within(waits(policy, || Ok(asks(503, "9"))).await[0], 2050..2100);
    let policy = RetryPolicy::http(ServerErrorsAsFailures);
    let waited = waits(policy, || Ok::<_, Infallible>(asks(503, "9"))).await;
    assert_within(waited[0], 9050..9100);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_another_status_or_an_invalid_one_is_ignored() {
    let cases = [(502, "60"), (504, "60"), (503, "soon"), (503, "-1"), (503, "+5"), (503, "")];
    for (status, value) in cases {
        let asks = || Ok::<_, Infallible>(asks(status, value));
        assert_within(waits(RetryPolicy::network(), asks).await[0], 50..100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_can_be_a_date() {
    let date = |date| move || Ok::<_, Infallible>(asks(503, date));
    let past = date("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_within(waits(RetryPolicy::network(), past).await[0], 50..100);
    let far = date("Sat, 06 Nov 2094 08:49:37 GMT");
    assert_eq!(attempts(RetryPolicy::network(), get(), far).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_asks_for_longer_than_the_maximum_is_returned() {
    let budget = ten();
    let began = Instant::now();
    let policy = RetryPolicy::network().budget(Arc::clone(&budget));
    let (calls, result) =
        attempts(policy.clone(), get(), || Ok::<_, Infallible>(asks(503, "31"))).await;
    assert_eq!(calls, 1);
    assert_eq!(result.unwrap().headers()["retry-after"], "31");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let long = || Ok::<_, Infallible>(asks(429, "31"));
    assert_eq!(attempts(policy.max_retry_after(31 * SECOND), get(), long).await.0, 3);
    assert_eq!(left(&budget), 10, "31 s have passed");
}

#[tokio::test(start_paused = true)]
async fn the_longest_durations_are_accepted() {
    let says = Outcome::failure().with_retry_after(Duration::MAX);
    let policy = RetryPolicy::new(move |_: &Result<(), Infallible>| says);
    let policy = policy.max_retry_after(Duration::MAX);
    assert_eq!(attempts(policy, (), || Ok::<_, Infallible>(())).await.0, 1);

    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX / 4, Duration::MAX];
    for (min, max) in times.iter().flat_map(|min| times.map(|max| (*min, max))) {
        for jitter in [-1.0, 0.0, 1.0, 100.0, 101.0, f64::NAN, f64::INFINITY] {
            let Ok(policy) = RetryPolicy::network().backoff(min, max, jitter) else {
                assert!(min > max || max.is_zero() || !(0.0..=100.0).contains(&jitter));
                continue;
            };
            let policy: RetryPolicy<Network> = policy.max_attempts(u32::MAX);
            for _ in 0..40 {
                let mut result = unavailable();
                let _ = policy.clone().retry(&mut get(), &mut result);
            }
        }
    }
}
