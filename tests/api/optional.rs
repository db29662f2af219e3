//! Optional breakers, and services with a breaker in struct fields.

use axum::Router;
use http::{Request, Response};
use tonic::{body::Body, transport::Channel};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    util::{BoxCloneService, Either, option_layer},
};
use tower_breaker::{
    CircuitBreaker, CircuitBreakerLayer, Error, GrpcCircuitBreaker, HttpCircuitBreaker, OnBodyEnd,
    State,
    body::{OnGrpcEnd, ResponseBody, WrapBody},
    classify::{GrpcEos, ServerErrorsAsFailures, SuccessAtEos},
    reject::{RejectAsGrpcStatus, RejectAsResponse},
};

fn builder() -> tower_breaker::CircuitBreakerLayerBuilder {
    CircuitBreakerLayer::builder("optional")
}

/// Whether the router responds, and the calls that the breaker counted.
async fn answers(router: Router) -> bool {
    let request = Request::new(axum::body::Body::empty());
    router.oneshot(request).await.unwrap().status().is_success()
}

fn routes() -> Router {
    Router::new().route("/", axum::routing::get(async || "fine"))
}

#[tokio::test]
async fn a_router_takes_an_optional_layer_with_each_preset() {
    for present in [true, false] {
        let http = builder().http().build().unwrap();
        assert!(answers(routes().layer(option_layer(present.then_some(http)))).await);

        let at_end = builder().http().on_body_end(OnBodyEnd::new());
        let at_end = at_end.wrap_body(axum::body::Body::new).build().unwrap();
        let breaker = at_end.breaker().clone();
        let router = routes().layer(option_layer(present.then_some(at_end)));
        assert!(answers(router.clone()).await);
        breaker.force_open();
        assert_eq!(answers(router).await, !present);

        let grpc = builder().grpc().wrap_body(axum::body::Body::new).build().unwrap();
        assert!(answers(routes().layer(option_layer(present.then_some(grpc)))).await);
    }
}

/// A tower stack works too, on a tonic server and around a channel.
#[tokio::test]
async fn a_tonic_server_and_a_channel_take_an_optional_layer() {
    let layer = || builder().grpc().wrap_body(Body::new).build().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(option_layer(Some(layer())))
        .add_routes(tonic::service::Routes::default());
    drop(server);
    let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let channel = ServiceBuilder::new().option_layer(Some(layer())).service(channel);
    is_a_channel(&channel);
    let _: tonic::client::Grpc<_> = tonic::client::Grpc::new(channel);
}

fn is_a_channel<S>(_: &S)
where
    S: tonic::client::GrpcService<Body, ResponseBody = Body>,
{
}

type WrapGrpc = WrapBody<OnGrpcEnd, fn(ResponseBody<Body, GrpcEos>) -> Body>;
type Page = axum::body::Body;
type WrapHttp = WrapBody<OnBodyEnd, fn(ResponseBody<Page, SuccessAtEos>) -> Page>;
type Pages = BoxCloneService<Request<Page>, Response<Page>, std::convert::Infallible>;

/// Every kind of service has a type name, with a breaker or an optional one.
struct Clients {
    grpc: GrpcCircuitBreaker<Channel>,
    wrapped: GrpcCircuitBreaker<Channel, RejectAsGrpcStatus, WrapGrpc>,
    perhaps: Either<GrpcCircuitBreaker<Channel, RejectAsGrpcStatus, WrapGrpc>, Channel>,
    http: HttpCircuitBreaker<Pages>,
    at_end: HttpCircuitBreaker<Pages, RejectAsResponse, OnBodyEnd>,
    perhaps_at_end: Either<HttpCircuitBreaker<Pages, RejectAsResponse, WrapHttp>, Pages>,
    boxed: Pages,
    plain: CircuitBreaker<reqwest::Client, ServerErrorsAsFailures>,
}

#[tokio::test]
async fn a_struct_holds_each_kind_of_service() {
    let channel = || tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let pages = || BoxCloneService::new(routes().into_service::<Page>());
    let grpc = || builder().grpc().wrap_body(Body::new as fn(_) -> _).build().unwrap();
    let http = || builder().http().on_body_end(OnBodyEnd::new());
    let wrapped = || http().wrap_body(Page::new as fn(_) -> _).build().unwrap();
    let mut clients = Clients {
        grpc: builder().grpc().build().unwrap().layer(channel()),
        wrapped: grpc().layer(channel()),
        perhaps: option_layer(Some(grpc())).layer(channel()),
        http: builder().http().build().unwrap().layer(pages()),
        at_end: http().build().unwrap().layer(pages()),
        perhaps_at_end: option_layer(Some(wrapped())).layer(pages()),
        boxed: BoxCloneService::new(wrapped().layer(pages())),
        plain: CircuitBreakerLayer::new(tower_breaker::Breaker::builder("plain").build().unwrap())
            .classify(ServerErrorsAsFailures)
            .layer(reqwest::Client::new()),
    };
    is_a_channel(&clients.wrapped);
    is_a_channel(&clients.perhaps);
    clients.grpc.breaker().force_open();
    let response = clients.grpc.ready().await.unwrap().call(Request::new(Body::empty())).await;
    assert_eq!(response.unwrap().status(), 503, "it is not a gRPC request");
    let page = || Request::new(Page::empty());
    assert_eq!(clients.http.ready().await.unwrap().call(page()).await.unwrap().status(), 200);
    assert_eq!(clients.at_end.ready().await.unwrap().call(page()).await.unwrap().status(), 200);
    let response: Response<Page> =
        clients.perhaps_at_end.ready().await.unwrap().call(page()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(clients.boxed.ready().await.unwrap().call(page()).await.unwrap().status(), 200);
    clients.plain.breaker().force_open();
    let request = reqwest::Request::new(http::Method::GET, "http://127.0.0.1:1/".parse().unwrap());
    let error = clients.plain.ready().await.unwrap().call(request).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)));
    assert_eq!(clients.plain.breaker().state(), State::ForcedOpen);
}
