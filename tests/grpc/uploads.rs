//! Messages of a client that cannot be sent: the server has no part in it.

use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;
use tower::Layer;
use tower_breaker::State;

use crate::{
    client::{Client, UNARY},
    server::Running,
    touchy,
};

const TOO_LARGE: &str = "a message that is too large";

#[tokio::test]
async fn a_message_that_is_too_large_to_send_does_not_count() {
    let server = Running::bare().await;
    let (builder, _) = touchy();
    let layer = builder.grpc().build().unwrap();
    // At once, and after the head and the first message of the response.
    for is_late in [false, true] {
        let mut grpc =
            Grpc::new(layer.layer(server.channel())).max_encoding_message_size(TOO_LARGE.len() / 2);
        grpc.ready().await.unwrap();
        let (sender, receiver) = mpsc::channel(2);
        let path = PathAndQuery::from_static("/test.Script/Both");
        let request = Request::new(ReceiverStream::new(receiver));
        let first = if is_late { "short" } else { TOO_LARGE };
        sender.send(first.to_owned()).await.unwrap();
        let codec = ProstCodec::<String, String>::default();
        let error = match grpc.streaming(request, path, codec).await {
            Err(status) => status,
            Ok(response) => {
                let mut messages = response.into_inner();
                if is_late {
                    assert!(messages.message().await.unwrap().is_some());
                    sender.send(TOO_LARGE.to_owned()).await.unwrap();
                }
                messages.message().await.unwrap_err()
            }
        };
        assert_eq!(layer.breaker().state(), State::Closed, "{error:?}");
        assert_eq!(layer.breaker().stats().consecutive_failures(), 0);
    }
}

/// No scheme: the commonest mistake. Nothing is called.
#[tokio::test]
async fn an_endpoint_without_a_scheme_does_not_count() {
    let (builder, _) = touchy();
    let layer = builder.grpc().build().unwrap();
    for endpoint in ["127.0.0.1:1", "/path"] {
        let channel = Endpoint::from_static(endpoint).connect_lazy();
        let client = Client::new(layer.layer(channel));
        for _ in 0..5 {
            client.unary(UNARY, "fine").await.unwrap_err();
            assert_eq!(layer.breaker().state(), State::Closed, "{endpoint}");
            assert_eq!(layer.breaker().stats().consecutive_failures(), 0);
        }
    }
}
