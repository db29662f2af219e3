//! A builder is not a layer.
//!
//! E0277: CircuitBreakerLayerBuilder; Layer

use tower::{Layer, ServiceBuilder};
use tower_breaker::CircuitBreakerLayer;

fn is_layer<L: Layer<()>>(_: L) {}

fn main() {
    let stack = ServiceBuilder::new().layer(CircuitBreakerLayer::builder("built").build().unwrap());
    is_layer(stack);
    #[cfg(feature = "wrong")]
    is_layer(ServiceBuilder::new().layer(CircuitBreakerLayer::builder("unbuilt")));
}
