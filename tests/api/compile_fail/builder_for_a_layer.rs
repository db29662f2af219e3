//! A builder has to be built into a layer, which validates its settings.
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
