//! Every call ends as exactly one of success, failure, ignored and cancelled. A thousand calls go
//! through a server to an upstream that flaps; some clients hang up, and some handlers panic.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    middleware::{Next, from_fn},
    routing::get as on_get,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Config, Event, OnBodyEnd, Outcome, State, Trip, Window,
    classify::{
        BodyFailure, ClassifiedResponse, Classify, ClassifyBody, ClassifyEos, StatusClassifier,
        SuccessAtEos,
    },
    config::CallMetrics,
    reject::RespondWith,
};

use crate::support::wait::eventually_async;

use super::{
    bodies::{broken, pieces},
    wire::{Http1, Http2, Server, client, request},
};

const REQUESTS: u64 = 1000;

#[derive(Default)]
struct Book {
    /// Requests at the server, and calls that the breaker admitted or rejected.
    arrived: AtomicU64,
    admitted: AtomicU64,
    rejected: AtomicU64,
    /// How the admitted calls ended.
    succeeded: AtomicU64,
    failed: AtomicU64,
    ignored: AtomicU64,
    /// Dropped before the head, and before the end of the body.
    gave_up: AtomicU64,
    hung_up: AtomicU64,
    /// Ended by a panic of the handler.
    panicked: AtomicU64,
    /// Requests at the upstream.
    seen: Mutex<HashSet<u64>>,
    upstream: AtomicU64,
}

impl Book {
    fn of(count: &AtomicU64) -> u64 {
        count.load(Ordering::SeqCst)
    }

    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, outcome: Outcome) -> Outcome {
        Self::add(match outcome {
            Outcome::Success => &self.succeeded,
            Outcome::Ignore => &self.ignored,
            _ => &self.failed,
        });
        outcome
    }

    fn cancelled(&self) -> u64 {
        Self::of(&self.gave_up) + Self::of(&self.hung_up)
    }

    /// Checks that every request was admitted or rejected, and that every admitted one reached the
    /// upstream and ended once.
    fn adds_up(&self) {
        assert_eq!(Self::of(&self.arrived), REQUESTS);
        assert_eq!(REQUESTS, Self::of(&self.admitted) + Self::of(&self.rejected));
        assert_eq!(Self::of(&self.admitted), self.ended());
        assert_eq!(Self::of(&self.admitted), self.seen.lock().unwrap().len() as u64);
    }

    fn ended(&self) -> u64 {
        let counts = [&self.succeeded, &self.failed, &self.ignored, &self.panicked];
        counts.into_iter().map(Self::of).sum::<u64>() + self.cancelled()
    }
}

/// Counts the outcomes of another classifier.
#[derive(Clone)]
struct Counting(StatusClassifier, Arc<Book>);

/// The end of a body. Dropping it before the body has ended counts the call as cancelled.
struct CountingEnd(Option<SuccessAtEos>, Arc<Book>);

impl<B, E: 'static> ClassifyBody<B, E> for Counting {
    type Eos = CountingEnd;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<CountingEnd> {
        match ClassifiedResponse::unless_body_fails(self.0.classify(result)) {
            ClassifiedResponse::Ready(outcome) => ClassifiedResponse::Ready(self.1.enter(outcome)),
            ClassifiedResponse::RequiresEos(end) => {
                ClassifiedResponse::RequiresEos(CountingEnd(Some(end), Arc::clone(&self.1)))
            }
        }
    }
}

impl ClassifyEos for CountingEnd {
    fn classify_eos(mut self, trailers: Option<&HeaderMap>) -> Outcome {
        self.1.enter(self.0.take().unwrap().classify_eos(trailers))
    }

    fn classify_failure(mut self, failure: BodyFailure) -> Outcome {
        self.1.enter(self.0.take().unwrap().classify_failure(failure))
    }
}

impl Drop for CountingEnd {
    fn drop(&mut self) {
        if self.0.is_some() {
            Book::add(&self.1.hung_up);
        }
    }
}

/// Counts the calls that the breaker admits, and those dropped without a response.
async fn count_admitted(book: Arc<Book>, request: Request, next: Next) -> Response<Body> {
    struct GivesUp(Option<Arc<Book>>);
    impl Drop for GivesUp {
        fn drop(&mut self) {
            let Some(book) = &self.0 else { return };
            let panicking = std::thread::panicking();
            Book::add(if panicking { &book.panicked } else { &book.gave_up });
        }
    }
    Book::add(&book.admitted);
    let mut gives_up = GivesUp(Some(book));
    let response = next.run(request).await;
    gives_up.0 = None;
    response
}

/// Fails forty successive requests of each hundred, and responds to the others by their kind.
async fn upstream(book: Arc<Book>, kind: String, id: u64) -> Response<Body> {
    Book::add(&book.upstream);
    book.seen.lock().unwrap().insert(id);
    if Book::of(&book.upstream) % 100 >= 60 {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    match kind.as_str() {
        "unknown" => status(StatusCode::NOT_FOUND),
        "silent" => std::future::pending().await,
        "endless" | "broken" => {
            let (sender, body) = pieces();
            tokio::spawn(async move {
                let _ = sender.send(Ok("half ")).await;
                if kind == "broken" {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let _ = sender.send(broken()).await;
                }
                sender.closed().await;
            });
            Response::new(Body::new(body))
        }
        _ => Response::new(Body::from("whole")),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The server: it forwards requests to the upstream, behind a breaker.
fn front(
    book: &Arc<Book>,
    upstream: &Server,
    config: Config,
    events: &Arc<Mutex<Vec<Event>>>,
) -> (Router, Breaker) {
    let (rejecting, events) = (Arc::clone(book), Arc::clone(events));
    let layer = CircuitBreakerLayer::builder("flapping")
        .config(config)
        .recovery_timeout(Duration::from_millis(5))
        .on_event(move |event| events.lock().unwrap().push(event.clone()))
        .classify(Counting(StatusClassifier::new().ignore(404..=404), Arc::clone(book)))
        .reject_with(RespondWith(move |_: &_| {
            Book::add(&rejecting.rejected);
            status(StatusCode::SERVICE_UNAVAILABLE)
        }))
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    let (client, base) = (client(Http1), upstream.url(""));
    let hand_on = async move |Path((kind, id)): Path<(String, u64)>| {
        let call = client.request(request(Method::GET, &format!("{base}/{kind}/{id}")));
        // In a task of its own, so that an admitted call reaches the upstream even if the client
        // hangs up.
        let answer = tokio::spawn(call).await.unwrap();
        if kind == "panics" {
            std::panic::resume_unwind(Box::new("a bug"));
        }
        match answer {
            Ok(response) => response.map(Body::new),
            Err(_) => status(StatusCode::BAD_GATEWAY),
        }
    };
    let (admitting, arriving) = (Arc::clone(book), Arc::clone(book));
    let router = Router::new()
        .route("/{kind}/{id}", on_get(hand_on))
        .layer(from_fn(move |request, next| count_admitted(Arc::clone(&admitting), request, next)))
        .layer(layer)
        .layer(from_fn(move |request: Request, next: Next| {
            Book::add(&arriving.arrived);
            next.run(request)
        }));
    (router, breaker)
}

/// One client: it reads the response, or hangs up once the request has reached the upstream.
async fn visit(book: &Book, server: &Server, id: u64) {
    let kind = match id % 10 {
        1 => "unknown",
        3 => "endless",
        5 => "silent",
        7 => "broken",
        9 => "panics",
        _ => "fine",
    };
    let client = client(if id % 20 < 10 { Http1 } else { Http2 });
    let answer = client.request(request(Method::GET, &server.url(&format!("/{kind}/{id}"))));
    let read = async {
        let Ok(mut response) = answer.await else { return };
        if kind == "endless" {
            let _ = response.frame().await;
        } else {
            let _ = response.collect().await;
        }
    };
    let seen_and_silent = async {
        while !(kind == "silent" && book.seen.lock().unwrap().contains(&id)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = read => {}
        () = seen_and_silent => {}
    }
}

/// The number of calls under way in all tests together, which the sockets of this process limit.
fn room() -> &'static Semaphore {
    static ROOM: OnceLock<Semaphore> = OnceLock::new();
    ROOM.get_or_init(|| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let files = files.and_then(|limits| limits.split_whitespace().next()?.parse().ok());
        // Four sockets for each call; calls without a response keep theirs to the end.
        let calls = files.map_or(3000, |files: usize| files.saturating_sub(800) / 4);
        Semaphore::new(calls.clamp(20, 3000))
    })
}

fn config(rule: Trip) -> Config {
    let mut config = Config::default();
    config.trip_on = vec![rule];
    config
}

/// Sends all requests, and waits until each has ended.
async fn rush(config: Config, at_once: usize) -> (Arc<Book>, Breaker, Vec<Event>) {
    let book = Arc::new(Book::default());
    let upstream_book = Arc::clone(&book);
    let answer = on_get(async move |Path((kind, id)): Path<(String, u64)>| {
        upstream(Arc::clone(&upstream_book), kind, id).await
    });
    let upstream = Server::of(Router::new().route("/{kind}/{id}", answer));
    let events = Arc::new(Mutex::new(Vec::new()));
    let (router, breaker) = front(&book, &upstream, config, &events);
    // Successes are counted only while the window holds a failure.
    breaker.try_acquire().unwrap().failure();
    let server = Arc::new(Server::of(router));

    let (mut clients, at_once) = (JoinSet::new(), Arc::new(Semaphore::new(at_once)));
    for id in 0..REQUESTS {
        let place = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let room = room().acquire().await.unwrap();
        let (book, server) = (Arc::clone(&book), Arc::clone(&server));
        clients.spawn(async move {
            timeout(Duration::from_secs(120), visit(&book, &server, id)).await.expect("an end");
            drop((place, room));
        });
    }
    clients.join_all().await;
    let of = Book::of;
    eventually_async("every admitted call has ended", || of(&book.admitted) == book.ended()).await;
    eventually_async("the upstream has seen them", || of(&book.admitted) == of(&book.upstream))
        .await;
    let events = events.lock().unwrap().clone();
    (book, breaker, events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_the_circuit_flaps() {
    let (book, breaker, events) = rush(config(Trip::consecutive_failures(5)), 32).await;
    book.adds_up();
    let of = Book::of;
    for (what, count) in [
        ("rejected", &book.rejected),
        ("succeeded", &book.succeeded),
        ("failed", &book.failed),
        ("ignored", &book.ignored),
        ("gave up", &book.gave_up),
        ("hung up", &book.hung_up),
        ("panicked", &book.panicked),
    ] {
        assert!(of(count) > 0, "none: {what}");
    }

    let mut state = State::Closed;
    let mut opened = 0;
    for event in events {
        let Event::Transition(transition) = event else { continue };
        assert_eq!(transition.from, state);
        state = transition.to;
        opened += u32::from(state == State::Open);
    }
    assert!(opened > 1, "the circuit did not flap");
    // No probe slot is lost: some successes close the circuit.
    for _ in 0..20 {
        if breaker.state() == State::Closed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Ok(permit) = breaker.try_acquire() {
            permit.success();
        }
    }
    panic!("{breaker:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_calls_are_all_accounted_for() {
    for call_metrics in [CallMetrics::Counts, CallMetrics::Off] {
        let mut config = config(Trip::consecutive_failures(5));
        config.call_metrics = call_metrics;
        let (book, ..) = rush(config, 1000).await;
        book.adds_up();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_never_trips_counts_each_call_once() {
    for (abandoned_after, call_metrics) in [
        (None, CallMetrics::Counts),
        (None, CallMetrics::Off),
        (Some(Duration::from_nanos(1)), CallMetrics::Off),
    ] {
        let window = Window::calls(10_000);
        let mut config = config(Trip::failure_rate(1.0, window).minimum_calls(10_000));
        config.abandoned_after = abandoned_after;
        config.call_metrics = call_metrics;
        let (book, breaker, _) = rush(config, 1000).await;
        let of = Book::of;
        assert_eq!(
            (of(&book.arrived), of(&book.admitted), of(&book.rejected)),
            (REQUESTS, REQUESTS, 0)
        );
        assert_eq!(of(&book.upstream), REQUESTS);
        assert_eq!(book.ended(), REQUESTS);
        // A call that is abandoned before its head can count as a failure; after it, it never does.
        let abandoned = if abandoned_after.is_some() { of(&book.gave_up) } else { 0 };
        let failed = of(&book.failed) + of(&book.panicked) + abandoned;
        let failures = || breaker.stats().window_failures() - 1;
        eventually_async("each failure is recorded", || failures() >= failed).await;
        assert_eq!(failures(), failed);
        let stats = breaker.stats();
        assert_eq!(stats.window_calls() - stats.window_failures(), of(&book.succeeded));
        for count in [&book.gave_up, &book.hung_up, &book.ignored, &book.panicked] {
            assert!(of(count) > 0);
        }
    }
}
