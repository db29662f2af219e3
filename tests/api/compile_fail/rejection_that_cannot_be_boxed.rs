//! A boxed rejection needs an error of the inner service that can be boxed too.
//!
//! E0277: RejectAsBoxError
//! says: need an error that converts into `tower_breaker::BoxError`

use tower::{Layer, Service, service_fn};
use tower_breaker::{CircuitBreakerLayer, reject::RejectAsBoxError};

fn is_service<S: Service<()>>(_: S) {}

fn main() {
    let layer = CircuitBreakerLayer::builder("boxed").reject_with(RejectAsBoxError);
    let layer = layer.build().unwrap();
    is_service(layer.layer(service_fn(|()| async { Err::<(), _>(std::io::Error::other("down")) })));
    #[cfg(feature = "wrong")]
    is_service(layer.layer(service_fn(|()| async { Err::<(), _>("down".len()) })));
}
