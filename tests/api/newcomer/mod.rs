//! Small programs as a newcomer writes them with the README and the documentation alone.

mod axum_and_reqwest;
mod many_hosts;
mod tonic_client;
mod worker;

use std::net::SocketAddr;

/// Serves on loopback until the test ends.
async fn serve(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
