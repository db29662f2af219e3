//! A layer has to be built: only then is it known whether its settings are right.
//!
//! E0308: CircuitBreakerLayerBuilder; CircuitBreakerLayer

use tower_breaker::CircuitBreakerLayer;

fn main() {
    let builder = CircuitBreakerLayer::builder("unbuilt");
    #[cfg(feature = "wrong")]
    let _: CircuitBreakerLayer = builder;
    #[cfg(not(feature = "wrong"))]
    let _: CircuitBreakerLayer = builder.build().unwrap();
}
