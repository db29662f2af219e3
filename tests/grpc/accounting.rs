//! Every call counts exactly once.

use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_breaker::config::CallMetrics;

use crate::support::wait::eventually_async;

use crate::{
    client::{Client, UNARY, drain},
    recorded,
    server::Running,
    watching,
};

const CALLS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_counts_once_in_the_client_and_once_in_the_server() {
    for call_metrics in [CallMetrics::Counts, CallMetrics::Off] {
        all_calls_count_once(call_metrics).await;
    }
}

async fn all_calls_count_once(call_metrics: CallMetrics) {
    let watching = || watching().call_metrics(call_metrics);
    let theirs = watching().grpc().build().unwrap();
    let of_server = theirs.breaker().clone();
    let server = Running::behind(theirs).await;
    let ours = watching().grpc().build().unwrap();
    let of_client = ours.breaker().clone();
    let channel = ServiceBuilder::new().layer(ours).service(server.channel());

    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let client = Client::new(channel.clone());
        calls.spawn(async move {
            match call % 6 {
                0 => client.unary(UNARY, "fine").await.map_or('f', |_| '.'),
                1 => client.unary(UNARY, "err 14").await.map_or('f', |_| '.'),
                2 => drain(client.down("a,b").await).await.1.map_or('.', |_| 'f'),
                3 => drain(client.down("a,err 13").await).await.1.map_or('.', |_| 'f'),
                4 => client.up(&["a", "err 1"]).await.map_or('f', |_| '.'),
                _ => {
                    let mut answers = client.down("a,hang").await.unwrap();
                    answers.message().await.unwrap();
                    '-'
                }
            }
        });
    }
    let ends = calls.join_all().await;
    let count = |results: &str, end| results.chars().filter(|result| *result == end).count();
    let seen = String::from_iter(ends);
    assert_eq!((count(&seen, '.'), count(&seen, 'f')), (CALLS / 3, CALLS / 2));
    for (side, breaker) in [("client", of_client), ("server", of_server)] {
        eventually_async(side, || recorded(&breaker).len() >= 5 * CALLS / 6).await;
        let results = recorded(&breaker);
        let counts = (count(&results, '.'), count(&results, 'f'));
        assert_eq!(counts, (CALLS / 3, CALLS / 2), "{side}");
    }
}
