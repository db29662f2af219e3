//! The ways to create a layer and a service, and the names of their types.

use http::{Request, Response, StatusCode};
use tonic::{body::Body, transport::Channel};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};
use tower_breaker::{
    BoxError, Breaker, CircuitBreaker, CircuitBreakerLayer, Error, GrpcCircuitBreaker,
    HttpCircuitBreaker, KeyedBreakers, KeyedCircuitBreakerLayer, OnBodyEnd, Registry, Rejected,
    State, Trip,
    classify::{self, ErrorsAsFailures},
    health_check::HealthCheck,
    reject::{self, RejectAsError, RejectAsTonicStatus},
    reqwest_middleware::{BreakerMiddleware, KeyedBreakerMiddleware},
    retry::{Classified, Network, RetryPolicy, kind},
};

type Client = BoxCloneService<Request<String>, Response<String>, std::io::Error>;

/// A client that answers each request with the status in its body.
fn client() -> Client {
    BoxCloneService::new(service_fn(|request: Request<String>| async move {
        let status = request.into_body().parse::<StatusCode>().map_err(std::io::Error::other)?;
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        Ok(response)
    }))
}

/// A breaker that opens at the first failure.
fn breaker() -> Breaker {
    Breaker::builder("made").trip_on(Trip::consecutive_failures(1)).build().unwrap()
}

#[tokio::test]
async fn a_single_service_needs_no_layer() {
    let breaker = breaker();
    let mut service = CircuitBreaker::new(client(), breaker.clone());
    service.ready().await.unwrap().call(Request::new("503".to_owned())).await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
    service.ready().await.unwrap().call(Request::new("none".to_owned())).await.unwrap_err();
    assert_eq!(service.breaker().state(), State::Open);
    let error = service.ready().await.unwrap().call(Request::new("200".to_owned())).await;
    assert!(matches!(error, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn layers_of_one_breaker_each_have_their_own_settings() {
    let breaker = breaker();
    let plain = CircuitBreaker::layer(breaker.clone()).layer(client());
    let http = CircuitBreakerLayer::new(breaker.clone()).http().layer(client());
    plain.oneshot(Request::new("500".to_owned())).await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
    http.oneshot(Request::new("500".to_owned())).await.unwrap();
    assert_eq!(breaker.state(), State::Open);

    let plain = CircuitBreaker::layer(breaker.clone()).layer(client());
    let http = CircuitBreakerLayer::new(breaker).http().layer(client());
    let error = plain.oneshot(Request::new("200".to_owned())).await.unwrap_err();
    assert!(error.rejected().is_some());
    let response = http.oneshot(Request::new("200".to_owned())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

fn is_service<R, E>(_: &mut impl Service<R, Error = E>) {}

/// The test is that a struct with these fields compiles.
struct Clients {
    plain: CircuitBreaker<Client>,
    http: HttpCircuitBreaker<Client>,
    as_error: HttpCircuitBreaker<Client, RejectAsError>,
    on_body_end: HttpCircuitBreaker<Client, RejectAsError, OnBodyEnd>,
    grpc: GrpcCircuitBreaker<Channel>,
    as_status: GrpcCircuitBreaker<Channel, RejectAsTonicStatus>,
}

#[tokio::test]
async fn services_have_short_type_names_for_struct_fields() {
    let breaker = breaker();
    let http = || CircuitBreakerLayer::new(breaker.clone()).http();
    let grpc = || CircuitBreakerLayer::builder("built").grpc();
    let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
    let mut clients = Clients {
        plain: CircuitBreaker::new(client(), breaker.clone()),
        http: http().layer(client()),
        as_error: http().reject_with(RejectAsError).layer(client()),
        on_body_end: http()
            .reject_with(RejectAsError)
            .on_body_end(OnBodyEnd::new())
            .layer(client()),
        grpc: grpc().build().unwrap().layer(channel.clone()),
        as_status: grpc().reject_with(RejectAsTonicStatus).build().unwrap().layer(channel),
    };
    is_service::<Request<String>, Error<std::io::Error>>(&mut clients.plain);
    is_service::<Request<String>, std::io::Error>(&mut clients.http);
    is_service::<Request<String>, Error<std::io::Error>>(&mut clients.as_error);
    is_service::<Request<String>, Error<std::io::Error>>(&mut clients.on_body_end);
    is_service::<Request<Body>, tonic::transport::Error>(&mut clients.grpc);
    is_service::<Request<Body>, BoxError>(&mut clients.as_status);
}

#[tokio::test]
async fn the_inner_service_and_the_inner_body_are_accessible() {
    let layer = CircuitBreakerLayer::new(breaker()).http().on_body_end(OnBodyEnd::new());
    let mut service = layer.layer(client());
    let _: (&Client, &mut Client) = (&service.get_ref().clone(), service.get_mut());
    let response = service.oneshot(Request::new("200".to_owned())).await.unwrap();
    let mut body = response.into_body();
    body.get_mut().push_str("more");
    assert_eq!(body.get_ref(), "more");
    assert_eq!(body.into_inner(), "more");
}

/// Debug output shows the type name of a closure, which says where the closure is.
#[test]
fn debug_output_names_the_types_of_closures() {
    let builder = CircuitBreakerLayer::builder("printed")
        .on_event(|_| ())
        .classify(|_: &Result<(), ()>| tower_breaker::Outcome::Success)
        .fallback(|(): (), _: Rejected| async { Ok::<(), ()>(()) });
    let built = format!("{builder:?}");
    let layer = builder.build().unwrap();
    let here = "debug_output_names_the_types_of_closures::{{closure}}";
    assert_eq!(built.matches(here).count(), 3, "{built}");
    assert_eq!(format!("{layer:?}").matches(here).count(), 2, "{layer:?}");
    assert_eq!(format!("{:?}", layer.layer(())).matches(here).count(), 2, "{layer:?}");

    let cloned: RetryPolicy<Network, _> =
        RetryPolicy::network().clone_request_with(|(): &()| None::<()>);
    let classified: RetryPolicy<Classified<_, kind::IsError, _>> =
        RetryPolicy::http(|_: &Result<(), ()>| tower_breaker::Outcome::Success);
    let printed = [
        format!("{:?}", reject::Fallback(|| ())),
        format!("{:?}", reject::RespondWith(|| ())),
        format!("{:?}", reject::RejectWithGrpcMessage(|| ())),
        format!("{:?}", reject::Backpressure(reject::Fallback(|| ()))),
        format!("{:?}", classify::map(ErrorsAsFailures, |outcome| outcome)),
        format!("{:?}", classify::or(|| (), ErrorsAsFailures)),
        format!("{:?}", Registry::builder().on_event(|_| ())),
        format!("{:?}", KeyedBreakers::builder("hosts").on_event(|_| ())),
        format!("{cloned:?}"),
        format!("{classified:?}"),
    ];
    for printed in printed {
        assert_eq!(printed.matches(here).count(), 1, "{printed}");
    }
}

#[test]
fn debug_output_names_the_types_of_closures_in_wrappers_and_middlewares() {
    let here = "debug_output_names_the_types_of_closures_in_wrappers_and_middlewares::{{closure}}";
    let succeeds = |_: &Result<(), ()>| tower_breaker::Outcome::Success;
    let answers = || service_fn(|(): ()| async { Ok::<(), ()>(()) });
    let group = || KeyedBreakers::builder("hosts").build().unwrap();
    let layer = || CircuitBreakerLayer::new(breaker());
    let by_key = KeyedCircuitBreakerLayer::by_key(group(), |_: &u32| None);
    let by_host = KeyedBreakerMiddleware::by_host(group());
    let printed = [
        format!("{:?}", classify::classify_fn(succeeds)),
        format!("{:?}", classify::search_errors(succeeds)),
        format!("{:?}", reject::FallbackService(answers())),
        format!("{:?}", layer().classify_with(|(): &()| ErrorsAsFailures)),
        format!("{:?}", layer().exempt(|(): &()| true)),
        format!("{:?}", layer().wrap_body(|(): ()| ())),
        format!("{:?}", HealthCheck::new(|| async { Ok::<(), std::io::Error>(()) })),
        format!("{:?}", by_key.layer(())),
        format!("{by_key:?}"),
        format!("{:?}", BreakerMiddleware::new(breaker()).exempt(|_| true)),
        format!("{:?}", BreakerMiddleware::new(breaker()).classify_with(|_, _| ErrorsAsFailures)),
        format!("{:?}", by_host.exempt(|_| true)),
    ];
    for printed in printed {
        assert!(printed.contains(here), "{printed}");
    }
}
