//! A worker that waits for the circuit before it takes on a job.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower_breaker::{BoxError, Breaker, Trip};

async fn send(to: SocketAddr, job: &str) -> Result<String, BoxError> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(job.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.is_empty() { Err("no answer".into()) } else { Ok(answer) }
}

/// Waits for a permit, and records an `Err` as a failure: also one that `?` returns, and a timeout.
async fn work(breaker: &Breaker, to: SocketAddr, job: &str) -> Result<usize, BoxError> {
    let permit = breaker.acquire().await;
    permit
        .call(async {
            let answer = timeout(Duration::from_secs(5), send(to, job)).await??;
            Ok(answer.trim().parse()?)
        })
        .await
}

#[tokio::test]
async fn a_job_waits_until_the_dependency_may_be_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in ["", "not a number", "3"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_to_string(&mut String::new()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });

    let recovery = Duration::from_millis(100);
    let breaker = Breaker::builder("jobs")
        .trip_on(Trip::consecutive_failures(2))
        .recovery_timeout(recovery)
        .build()
        .unwrap();
    work(&breaker, address, "tea").await.unwrap_err();
    work(&breaker, address, "tea").await.unwrap_err();
    let opened = std::time::Instant::now();
    assert_eq!(work(&breaker, address, "tea").await.unwrap(), 3);
    assert!(opened.elapsed() >= recovery / 2);
}
