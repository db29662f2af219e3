//! HTTP requests that are not gRPC, on a gRPC server.

use axum::{Router, routing::get};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tower_breaker::{CircuitBreakerLayer, State};

use crate::{
    OPEN_TIME,
    client::{Client, UNARY},
    recorded,
    server::routes,
    touchy, trip, watching,
};

type Http = HttpClient<HttpConnector, Full<bytes::Bytes>>;
type Grpc = CircuitBreakerLayer<
    tower_breaker::classify::GrpcClassifier,
    tower_breaker::reject::RejectAsGrpcStatus,
    tower_breaker::body::OnGrpcEnd,
>;

/// Serves gRPC and an HTTP health check behind one layer.
async fn server(layer: Grpc) -> String {
    let router: Router = routes().into_axum_router();
    let router = router
        .route("/health", get(async || "fine"))
        .route("/sick", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn ask(client: &Http, method: Method, url: &str, media_type: Option<&str>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(media_type) = media_type {
        request = request.header(header::CONTENT_TYPE, media_type);
    }
    let response = client.request(request.body(Full::default()).unwrap()).await.unwrap();
    let status = response.status();
    let _ = response.into_body().collect().await;
    status
}

fn http() -> Http {
    HttpClient::builder(TokioExecutor::new()).http2_only(true).build_http()
}

#[tokio::test]
async fn requests_that_are_not_grpc_pass_through_and_do_not_count() {
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let url = server(layer).await;
    let http = http();
    let health = format!("{url}/health");
    assert_eq!(ask(&http, Method::GET, &health, None).await, 200);
    assert_eq!(ask(&http, Method::GET, &format!("{url}/sick"), None).await, 500);
    assert_eq!(ask(&http, Method::GET, &format!("{url}/nowhere"), None).await, 404);
    let method = format!("{url}{UNARY}");
    assert_eq!(ask(&http, Method::OPTIONS, &method, None).await, 405);
    for media_type in ["application/grpc-web+proto", "application/grpc-web-text", "text/html"] {
        ask(&http, Method::POST, &method, Some(media_type)).await;
    }
    assert_eq!(recorded(&breaker), "");

    let endpoint = Endpoint::from_shared(url).unwrap();
    let client = Client::new(endpoint.connect_lazy());
    client.unary(UNARY, "err 14").await.unwrap_err();
    client.unary(UNARY, "fine").await.unwrap();
    assert_eq!(recorded(&breaker), "f.");
}

#[tokio::test]
async fn requests_that_are_not_grpc_get_a_503_while_calls_are_rejected() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let url = server(layer).await;
    let (http, health) = (http(), format!("{url}/health"));
    trip(&breaker);
    assert_eq!(ask(&http, Method::GET, &health, None).await, 503);

    // They are not probes: they take no slot and change no state.
    clock.advance(OPEN_TIME);
    for _ in 0..3 {
        assert_eq!(ask(&http, Method::GET, &format!("{url}/sick"), None).await, 500);
        assert_eq!(ask(&http, Method::GET, &health, None).await, 200);
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    let client = Client::new(Endpoint::from_shared(url).unwrap().connect_lazy());
    client.unary(UNARY, "fine").await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn requests_that_are_not_grpc_do_not_count_after_other_settings_either() {
    use tower_breaker::{OnBodyEnd, classify::GrpcClassifier};

    let settings = OnBodyEnd::new().stall_timeout(OPEN_TIME);
    let layer: Grpc =
        watching().grpc().classify(GrpcClassifier::new()).on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let url = server(layer).await;
    assert_eq!(ask(&http(), Method::GET, &format!("{url}/health"), None).await, 200);
    assert_eq!(recorded(&breaker), "");
}
