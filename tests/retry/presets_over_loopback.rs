//! The presets against servers that limit, conflict and hang up.

use std::{
    borrow::Cow,
    fmt::Write as _,
    future::IntoFuture,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::Router;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

#[tokio::test]
async fn a_post_to_an_api_waits_until_its_limit_has_ended() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    // The limit ends a second after the first call.
    let router = Router::new().fallback(move || async move {
        let first = count.fetch_add(1, SeqCst) == 0;
        let status = if first { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::CREATED };
        (status, [("retry-after", "1")])
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let policy = RetryPolicy::rate_limited().backoff(MILLI, MILLI, 0.0).unwrap();
    let breaker = CircuitBreakerLayer::builder("limited");
    let breaker = breaker.classify(ServerErrorsAsFailures).build().unwrap();
    let handle = breaker.breaker().clone();
    let service =
        ServiceBuilder::new().layer(RetryLayer::new(policy)).layer(breaker).service(client);
    let request = Request::post(uri).body(Empty::new()).unwrap();
    let start = Instant::now();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status(), calls.load(SeqCst)), (StatusCode::CREATED, 2));
    assert!(start.elapsed() >= SECOND);
    assert_eq!(handle.state(), State::Closed);
    server.abort();
}

#[derive(Debug)]
enum DatabaseError {
    Refused(String),
    Io(io::Error),
}

impl std::fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database failed")
    }
}

impl StdError for DatabaseError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

fn sqlstate<'a>(cause: &'a (dyn StdError + 'static)) -> Option<Cow<'a, str>> {
    match cause.downcast_ref()? {
        DatabaseError::Refused(code) => Some(code.into()),
        DatabaseError::Io(_) => None,
    }
}

/// Sends one line, and reads one: `ok`, or a SQLSTATE.
async fn transact(address: SocketAddr) -> Result<(), DatabaseError> {
    let answer = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        stream.write_all(b"transfer\n").await?;
        let mut line = String::new();
        match stream.read_line(&mut line).await? {
            0 => Err(io::Error::from(ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    match &*answer.await.map_err(DatabaseError::Io)? {
        "ok" => Ok(()),
        code => Err(DatabaseError::Refused(code.to_owned())),
    }
}

/// A database that gives one of these answers to each transaction; after an empty one it hangs up.
/// Returns the result and the number of transactions that it has seen.
async fn against(
    policy: RetryPolicy<retry::Database>,
    answers: &'static [&'static str],
) -> (Result<(), Error<DatabaseError>>, usize) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        for answer in answers {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            count.fetch_add(1, SeqCst);
            if !answer.is_empty() {
                line.clear();
                writeln!(line, "{answer}").unwrap();
                stream.write_all(line.as_bytes()).await.unwrap();
            }
        }
    });
    let policy = policy.backoff(MILLI, MILLI, 0.0).unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy))
        .layer(CircuitBreakerLayer::builder("database").build().unwrap())
        .service(service_fn(transact));
    let result = service.oneshot(address).await;
    server.abort();
    (result, seen.load(SeqCst))
}

#[tokio::test]
async fn a_transaction_succeeds_after_a_conflict_and_a_deadlock() {
    let (result, seen) = against(RetryPolicy::database(sqlstate), &["40001", "40P01", "ok"]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn a_constraint_violation_is_returned_at_once() {
    let (result, seen) = against(RetryPolicy::database(sqlstate), &["40001", "23505", "ok"]).await;
    assert!(matches!(result, Err(Error::Inner(DatabaseError::Refused(code))) if code == "23505"));
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn a_connection_that_is_lost_during_a_transaction_is_returned_unless_it_is_idempotent() {
    let (result, seen) = against(RetryPolicy::database(sqlstate), &["", "ok"]).await;
    assert!(matches!(result, Err(Error::Inner(DatabaseError::Io(_)))));
    assert_eq!(seen, 1);
    let (result, seen) = against(RetryPolicy::database(sqlstate).idempotent(), &["", "ok"]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn a_transaction_is_not_repeated_once_the_circuit_is_open() {
    // The default rule opens at the fifth failure, which the fifth attempt is: one more allowed.
    let policy = RetryPolicy::database(sqlstate).max_attempts(9);
    let answers = ["40001"; 6];
    let (result, seen) = against(policy, Box::leak(Box::new(answers))).await;
    assert!(matches!(result, Err(Error::Rejected(_))), "{result:?}");
    assert_eq!(seen, 5);
}
