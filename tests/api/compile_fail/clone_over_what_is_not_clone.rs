//! A service behind a breaker is `Clone` only if the inner service is.
//!
//! E0277: NotClone; Clone

use tower::Layer;
use tower_breaker::CircuitBreakerLayer;

#[derive(Clone)]
struct IsClone;
struct NotClone;

fn cloned<T: Clone>(_: &T) {}

fn main() {
    let layer = CircuitBreakerLayer::builder("clone").build().unwrap();
    cloned(&layer.layer(IsClone));
    let service = layer.layer(NotClone);
    #[cfg(feature = "wrong")]
    cloned(&service);
    drop((service, IsClone, NotClone));
}
