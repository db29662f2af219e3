//! Which status codes are failures, in headers and in trailers.

use tower_breaker::{
    Breaker,
    classify::{GrpcClassifier, GrpcCode},
};

use crate::{
    client::{Client, Transport, UNARY, drain},
    recorded,
    server::Running,
    touchy, watching,
};

/// Makes calls that end with each code, first in the headers, then in the trailers, and returns
/// what was recorded for each.
async fn each_code<T: Transport + Clone>(
    client: &Client<T>,
    breaker: &Breaker,
) -> Vec<[String; 2]> {
    let mut all = Vec::new();
    for code in 0..=16 {
        let (script, stream) = match code {
            0 => ("fine".to_owned(), "one".to_owned()),
            _ => (format!("err {code}"), format!("one,err {code}")),
        };
        let before = recorded(breaker);
        let in_headers = client.unary(UNARY, &script).await;
        assert_eq!(in_headers.err().map_or(0, |status| status.code() as i32), code);
        let between = recorded(breaker);
        let (messages, in_trailers) = drain(client.down(&stream).await).await;
        assert_eq!(messages, ["one"]);
        assert_eq!(in_trailers.map_or(0, |status| status.code() as i32), code);
        let after = recorded(breaker);
        all.push([between[before.len()..].to_owned(), after[between.len()..].to_owned()]);
    }
    all
}

fn expected() -> Vec<[String; 2]> {
    let of = |code| match code {
        // 8 is throttled, and the others are failures.
        1 | 2 | 4 | 8 | 13 | 14 | 15 => "f",
        _ => ".",
    };
    (0..=16).map(|code| [of(code).to_owned(), of(code).to_owned()]).collect()
}

#[tokio::test]
async fn the_default_classification_of_codes_in_a_client_is_as_documented() {
    let server = Running::bare().await;
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    assert_eq!(each_code(&client, &breaker).await, expected());
}

#[tokio::test]
async fn the_default_classification_of_codes_in_a_server_is_as_documented() {
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    let client = Client::new(server.channel());
    assert_eq!(each_code(&client, &breaker).await, expected());
}

#[tokio::test]
async fn the_last_setting_for_a_code_applies() {
    let server = Running::bare().await;
    let codes = GrpcClassifier::new()
        .failure([GrpcCode::NotFound, GrpcCode::Aborted])
        .ignore(GrpcCode::Cancelled)
        .success(GrpcCode::Unavailable)
        .ignore([GrpcCode::Internal, GrpcCode::InvalidArgument].as_slice())
        .throttled(GrpcCode::ResourceExhausted);
    let layer = watching().grpc().classify(codes).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    for (code, so_far) in [
        (5, "f"),
        (1, "f"),
        (10, "ff"),
        (14, "ff."),
        (13, "ff."),
        (3, "ff."),
        (8, "ff.f"),
        (15, "ff.ff"),
    ] {
        client.unary(UNARY, &format!("err {code}")).await.unwrap_err();
        assert_eq!(recorded(&breaker), so_far, "{code}");
    }
}

#[tokio::test]
async fn throttled_calls_do_not_count_as_consecutive_failures() {
    let server = Running::bare().await;
    for (codes, opens) in [
        (GrpcClassifier::new(), false),
        (GrpcClassifier::new().success(GrpcCode::ResourceExhausted), false),
        (GrpcClassifier::new().failure(GrpcCode::ResourceExhausted), true),
    ] {
        let (builder, _) = touchy();
        let layer = builder.grpc().classify(codes).build().unwrap();
        let breaker = layer.breaker().clone();
        let client = server.client_behind(layer);
        client.unary(UNARY, "err 8").await.unwrap_err();
        assert_eq!(breaker.try_acquire().is_err(), opens, "{codes:?}");
    }
}

#[test]
fn the_debug_output_of_a_classifier_shows_its_settings() {
    let codes = GrpcClassifier::new().ignore(GrpcCode::NotFound);
    assert_eq!(
        format!("{codes:?}"),
        "GrpcClassifier { failure: [Cancelled, Unknown, DeadlineExceeded, Internal, Unavailable, \
         DataLoss], throttled: [ResourceExhausted], ignore: [NotFound] }"
    );
}
