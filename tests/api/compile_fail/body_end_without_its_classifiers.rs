//! Where the end of the body decides, the classifier has to say so.
//!
//! E0277: ClassifyBody; ClassifyEos
//! says: `HeadOnly` cannot classify a response body
//! says: `.on_body_end(..)` and `.grpc()` need a classifier that implements `ClassifyBody`
//! says: `u8` cannot classify the end of a response body
//! says: `SuccessAtEos` takes every complete body for a success

use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, OnBodyEnd, Outcome,
    classify::{ClassifiedResponse, Classify, ClassifyBody, SuccessAtEos},
};

#[derive(Clone)]
struct HeadOnly;

impl<T, E> Classify<T, E> for HeadOnly {
    fn classify(&self, _: &Result<T, E>) -> Outcome {
        Outcome::Success
    }
}

struct Odd;

impl<B, E> ClassifyBody<B, E> for Odd {
    #[cfg(not(feature = "wrong"))]
    type Eos = SuccessAtEos;
    #[cfg(feature = "wrong")]
    type Eos = u8;

    fn classify_head(&self, _: &Result<Response<B>, E>) -> ClassifiedResponse<Self::Eos> {
        ClassifiedResponse::Ready(Outcome::Success)
    }
}

fn is_service<S: Service<Request<()>>>(_: S) {}

fn main() {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, ()>(Response::new(String::new())) });
    let builder = CircuitBreakerLayer::builder("body").classify(HeadOnly);
    #[cfg(feature = "wrong")]
    let builder = builder.on_body_end(OnBodyEnd::new());
    is_service(builder.build().unwrap().layer(inner));
    let _ = (OnBodyEnd::new(), SuccessAtEos);
}
