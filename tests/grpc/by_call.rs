//! `Breaker::call_with` around the calls of a generated client.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::{Code, Request, Response, Status, client::Grpc, metadata::MetadataMap};
use tonic_prost::ProstCodec;
use tower::Layer;
use tower_breaker::{
    Error, Outcome, State,
    classify::{Classify, GrpcClassifier, GrpcCode},
    reject::RejectAsTonicStatus,
};

use crate::{client::Transport, server::Running, touchy};

/// What a generated client returns for a unary call with this message.
async fn unary(channel: impl Transport, message: &str) -> Result<Response<String>, Status> {
    let mut grpc = Grpc::new(channel).max_encoding_message_size(20);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/test.Script/Unary");
    grpc.unary(Request::new(message.to_owned()), path, ProstCodec::default()).await
}

fn outcome(status: Status) -> Outcome {
    GrpcClassifier::new().classify(&Err::<Response<()>, _>(status))
}

#[tokio::test]
async fn each_code_counts_as_it_does_on_a_layer() {
    let server = Running::bare().await;
    let (builder, _) = touchy();
    let breaker = builder.build().unwrap().breaker().clone();
    for code in 0..=16 {
        let message = if code == 0 { "fine".to_owned() } else { format!("err {code}") };
        let call = unary(server.channel(), &message);
        let answer = breaker.call_with(GrpcClassifier::new(), call).await;
        let status = answer.err().and_then(Error::into_inner).map_or(Code::Ok, |s| s.code());
        assert_eq!(status as i32, code);
        // 8 is throttled, which does not add to the consecutive failures.
        let fails = matches!(code, 1 | 2 | 4 | 13 | 14 | 15);
        assert_eq!(breaker.state() == State::Open, fails, "{code}");
        breaker.reset();
    }
    assert_eq!(outcome(Status::resource_exhausted("")), Outcome::throttled());
    let codes = GrpcClassifier::new().ignore(GrpcCode::NotFound);
    let result = Err::<Response<()>, _>(Status::not_found(""));
    assert_eq!(codes.classify(&result), Outcome::Ignore);
}

#[test]
fn a_pushback_in_the_metadata_is_followed() {
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", "1500".parse().unwrap());
    let status = Status::with_metadata(Code::Unavailable, "", metadata);
    let expected = Outcome::failure().with_retry_after(Some(Duration::from_millis(1500)));
    assert_eq!(outcome(status), expected);
}

#[tokio::test]
async fn rejections_and_messages_that_cannot_be_sent_do_not_count() {
    let server = Running::bare().await;
    let (builder, _) = touchy();
    let inner = builder.grpc().reject_with(RejectAsTonicStatus).build().unwrap();
    inner.breaker().force_open();
    let status = unary(inner.layer(server.channel()), "fine").await.unwrap_err();
    assert_eq!(outcome(status), Outcome::Ignore);
    let rejected = inner.breaker().try_acquire().unwrap_err();
    assert_eq!(outcome(Status::from(rejected)), Outcome::Ignore);
    let too_large = unary(server.channel(), "a message that is too large").await.unwrap_err();
    assert_eq!(outcome(too_large), Outcome::Ignore);
    let address = server.endpoint();
    drop(server);
    let refused = unary(address.connect_lazy(), "fine").await.unwrap_err();
    assert_eq!(outcome(refused), Outcome::failure());
}
