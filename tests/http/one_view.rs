//! A layer, the middleware of reqwest-middleware, and calls without a service see the same in an
//! error: errors of the request itself and rejections by other breakers are nothing to a breaker.

use std::{future::ready, io, pin::Pin, sync::Arc};

use axum::{Router, body::Body, extract::Path, routing::get as on_get};
use http::{Extensions, Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, Outcome, Rejected, State, Trip,
    classify::{
        ClassifiedResponse, Classify, ClassifyBody, ErrorsAsFailures, ServerErrorsAsFailures,
        StatusClassifier, search_errors,
    },
    reqwest_middleware::BreakerMiddleware,
};

use super::wire::{Server, refusing_address};

/// A breaker that opens at the first failure.
fn touchy() -> Breaker {
    Breaker::builder("one view").trip_on(Trip::consecutive_failures(1)).build().unwrap()
}

/// Records this result in each way that there is. Returns the states afterwards.
async fn each_way<E: 'static>(error: impl Fn() -> E) -> [State; 6] {
    let breakers = std::array::from_fn(|_| touchy());
    let [layer, call, call_blocking, permit, permit_blocking, with] = &breakers;
    let failing = service_fn(|(): ()| ready(Err::<(), _>(error())));
    let _ = CircuitBreakerLayer::new(layer.clone()).layer(failing).oneshot(()).await;
    let _ = call.call(ready(Err::<(), _>(error()))).await;
    let _ = call_blocking.call_blocking(|| Err::<(), _>(error()));
    let _ = permit.try_acquire().unwrap().call(ready(Err::<(), _>(error()))).await;
    let _ = permit_blocking.try_acquire().unwrap().call_blocking(|| Err::<(), _>(error()));
    let response = Err::<http::Response<()>, _>(error());
    let _ = with.call_with(ServerErrorsAsFailures, ready(response)).await;
    breakers.map(|breaker| breaker.state())
}

async fn ignored<E: 'static>(what: &str, error: impl Fn() -> E) {
    assert_eq!(each_way(error).await, [State::Closed; 6], "{what}");
}

async fn failed<E: 'static>(what: &str, error: impl Fn() -> E) {
    assert_eq!(each_way(error).await, [State::Open; 6], "{what}");
}

fn rejected() -> Rejected {
    let breaker = touchy();
    breaker.force_open();
    breaker.try_acquire().unwrap_err()
}

fn of_reqwest() -> reqwest::Error {
    reqwest::Client::new().get("ftp:/no url").build().unwrap_err()
}

/// Nothing is in its sources.
fn of_http() -> http::Error {
    Request::get("/").header("a", "\n").body(()).unwrap_err()
}

async fn of_hyper_util(uri: &str) -> hyper_util::client::legacy::Error {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    client.request(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn rejections_are_nothing_in_any_wrapper() {
    ignored("itself", rejected).await;
    ignored("a boxed one", || BoxError::from(rejected())).await;
    ignored("one that cannot be sent", || Box::<dyn std::error::Error>::from(rejected())).await;
    ignored("in an io::Error", || io::Error::other(rejected())).await;
    ignored("of a breaker", || Error::<io::Error>::Rejected(rejected())).await;
    ignored("in a box in an io::Error in a breaker's", || {
        Error::Inner(io::Error::other(BoxError::from(rejected())))
    })
    .await;
    ignored("of a middleware", || reqwest_middleware::Error::middleware(rejected())).await;
    ignored("of a status", || tonic::Status::from_error(rejected().into())).await;
}

#[tokio::test]
async fn errors_of_the_request_are_nothing_in_any_wrapper() {
    ignored("reqwest's", of_reqwest).await;
    ignored("in a box", || BoxError::from(of_reqwest())).await;
    ignored("in an io::Error", || io::Error::other(of_reqwest())).await;
    ignored("of a middleware's client", || reqwest_middleware::Error::from(of_reqwest())).await;
    ignored("of a middleware", || reqwest_middleware::Error::middleware(of_reqwest())).await;
    ignored("of a middleware, wrapped", || {
        reqwest_middleware::Error::middleware(io::Error::other(of_reqwest()))
    })
    .await;
    ignored("in an inner breaker's", || Error::Inner(Error::Inner(of_reqwest()))).await;
    ignored("an invalid URI", || "http://[".parse::<http::Uri>().unwrap_err()).await;
    ignored("an invalid URL", || "no url".parse::<reqwest::Url>().unwrap_err()).await;
    ignored("that, boxed", || BoxError::from("no url".parse::<reqwest::Url>().unwrap_err())).await;
    for error in [of_hyper_util("/no-host").await, of_hyper_util("ftp://127.0.0.1/").await] {
        let breaker = touchy();
        breaker.call(ready(Err::<(), _>(error))).await.unwrap_err();
        assert_eq!(breaker.state(), State::Closed);
    }
}

/// An `Arc` and a `Box` have the source of the error inside, and so skip that error.
#[tokio::test]
async fn errors_of_the_request_are_nothing_in_an_arc_or_a_box() {
    type Shared = Arc<dyn std::error::Error + Send + Sync>;

    ignored("boxed by its type", || Box::new(of_http())).await;
    ignored("shared", || Arc::new(of_http())).await;
    ignored("shared by no type", || Shared::from(BoxError::from(of_http()))).await;
    ignored("one that is sent and not shared", || -> Box<dyn std::error::Error + Send> {
        Box::new(of_http())
    })
    .await;
    ignored("shared in an inner breaker's", || Error::Inner(Arc::new(of_http()))).await;
    ignored("boxed in a box", || BoxError::from(Box::new(of_http()))).await;
    ignored("shared in a box", || BoxError::from(Arc::new(of_http()))).await;
    let shared = || Shared::from(BoxError::from(of_http()));
    ignored("shared by no type in a box", || BoxError::from(shared())).await;
    ignored("in a shared io::Error", || Arc::new(io::Error::other(of_http()))).await;
    ignored("that in an io::Error", || io::Error::other(Arc::new(io::Error::other(shared()))))
        .await;
    ignored("a boxed status", || Box::new(tonic::Status::from(rejected()))).await;
    // Without its source, as a client gets it.
    let of_a_client = || {
        let status = tonic::Status::from(rejected());
        tonic::Status::with_metadata(status.code(), "", status.metadata().clone())
    };
    ignored("a client's, boxed in a box", || BoxError::from(Box::new(of_a_client()))).await;
    failed("another one, shared", || Arc::new(io::Error::other("down"))).await;
    failed("another one, boxed", || Box::new(tonic::Status::unavailable("down"))).await;
    failed("another one, shared by no type", || Shared::from(BoxError::from("down"))).await;
}

#[tokio::test]
async fn what_connectors_refuse_is_nothing() {
    async fn refused(error: fn() -> BoxError) -> State {
        let connector = service_fn(move |_: http::Uri| {
            ready(Err::<hyper_util::rt::TokioIo<tokio::net::TcpStream>, _>(error()))
        });
        let client = Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
        let breaker = touchy();
        let request = Request::get("http://127.0.0.1/").body(Body::empty()).unwrap();
        breaker.call(client.request(request)).await.unwrap_err();
        breaker.state()
    }
    // As hyper-rustls and hyper-tls say it.
    let scheme = || io::Error::other("unsupported scheme ftp").into();
    assert_eq!(refused(scheme).await, State::Closed);
    assert_eq!(refused(|| "https required but URI was not https".into()).await, State::Closed);
    assert_eq!(refused(|| "a scheme is unsupported".into()).await, State::Open);
    let down = || io::Error::from(io::ErrorKind::ConnectionRefused).into();
    assert_eq!(refused(down).await, State::Open);
}

#[tokio::test]
async fn all_other_errors_are_failures() {
    failed("a unit", || ()).await;
    failed("a text", || "down").await;
    failed("an io::Error", || io::Error::other("down")).await;
    failed("a box", || BoxError::from("down")).await;
    failed("a middleware's", || reqwest_middleware::Error::middleware(io::Error::other("x"))).await;
    failed("a status", || tonic::Status::unavailable("down")).await;
    let refused = format!("http://{}/", refusing_address());
    let breaker = touchy();
    let call = reqwest::Client::builder().no_proxy().build().unwrap().get(refused).send();
    breaker.call(call).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}

/// An error of an application.
#[derive(Debug)]
struct Own(BoxError);

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot pay")
    }
}

impl std::error::Error for Own {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test]
async fn errors_of_an_application_are_searched_on_demand() {
    type Answer = Result<http::Response<String>, Own>;

    let is_request = |error: BoxError| -> (State, State, State) {
        let result: Answer = Err(Own(error));
        let breakers = [touchy(), touchy(), touchy()];
        let [plain, by_status, on_body_end] = &breakers;
        let record = |breaker: &Breaker, outcome| breaker.try_acquire().unwrap().finish(outcome);
        record(plain, search_errors(ErrorsAsFailures).classify(&result));
        record(by_status, search_errors(ServerErrorsAsFailures).classify(&result));
        match search_errors(ServerErrorsAsFailures).classify_head(&result) {
            ClassifiedResponse::Ready(outcome) => record(on_body_end, outcome),
            ClassifiedResponse::RequiresEos(_) => unreachable!("an error has no body"),
        }
        breakers.map(|breaker| breaker.state()).into()
    };
    let all = |state: State| (state, state, state);
    assert_eq!(is_request(rejected().into()), all(State::Closed));
    assert_eq!(is_request(of_reqwest().into()), all(State::Closed));
    assert_eq!(is_request(io::Error::other(of_reqwest()).into()), all(State::Closed));
    assert_eq!(is_request("down".into()), all(State::Open));
    let fails: Answer = Ok(http::Response::builder().status(500).body(String::new()).unwrap());
    assert_eq!(search_errors(ServerErrorsAsFailures).classify(&fails), Outcome::failure());
}

/// `error_for_status` hides no status from a classifier of statuses.
#[tokio::test]
async fn a_status_counts_the_same_as_an_error() {
    let answer = async |Path(status): Path<u16>| StatusCode::from_u16(status).unwrap();
    let server = Server::of(Router::new().route("/{status}", on_get(answer)));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for status in [200, 404, 408, 422, 429, 500, 503] {
        let url = server.url(&format!("/{status}"));
        let outcome = async |as_error: bool| {
            let response = client.get(&url).send().await.unwrap();
            let result = if as_error { response.error_for_status() } else { Ok(response) };
            let statuses = StatusClassifier::new().failure(422..=422);
            (ServerErrorsAsFailures.classify(&result), statuses.classify(&result))
        };
        assert_eq!(outcome(false).await, outcome(true).await, "{status}");
    }
}

/// Fails before the request is sent.
struct Failing<F>(F);

impl<F> Middleware for Failing<F>
where
    F: Fn() -> reqwest_middleware::Error + Send + Sync + 'static,
{
    fn handle<'me, 'extensions, 'next, 'call>(
        &'me self,
        _: reqwest::Request,
        _: &'extensions mut Extensions,
        _: Next<'next>,
    ) -> Pin<Box<dyn Future<Output = reqwest_middleware::Result<reqwest::Response>> + Send + 'call>>
    where
        'me: 'call,
        'extensions: 'call,
        'next: 'call,
        Self: 'call,
    {
        Box::pin(ready(Err((self.0)())))
    }
}

#[tokio::test]
async fn the_middleware_sees_what_middlewares_further_in_return() {
    type MakeError = fn() -> reqwest_middleware::Error;
    let cases: [(MakeError, State); 5] = [
        (|| reqwest_middleware::Error::middleware(rejected()), State::Closed),
        (|| reqwest_middleware::Error::middleware(io::Error::other(rejected())), State::Closed),
        (|| reqwest_middleware::Error::middleware(of_reqwest()), State::Closed),
        (|| reqwest_middleware::Error::from(of_reqwest()), State::Closed),
        (|| reqwest_middleware::Error::middleware(io::Error::other("down")), State::Open),
    ];
    for (error, expected) in cases {
        let breaker = touchy();
        let client: ClientWithMiddleware = ClientBuilder::new(reqwest::Client::new())
            .with(BreakerMiddleware::new(breaker.clone()))
            .with(Failing(error))
            .build();
        let error = client.get("http://127.0.0.1/").send().await.unwrap_err();
        assert_eq!(breaker.state(), expected, "{error:?}");
    }
}
