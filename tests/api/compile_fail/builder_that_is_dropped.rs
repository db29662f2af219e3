//! Unused builders and unused permits are mistakes.
//!
//! unused_must_use: CircuitBreakerLayerBuilder; Permit

#![deny(unused_must_use)]

use tower_breaker::{Breaker, CircuitBreakerLayer};

fn main() {
    let breaker = Breaker::builder("kept").build().unwrap();
    #[cfg(feature = "wrong")]
    CircuitBreakerLayer::builder("dropped");
    let permit = breaker.try_acquire().unwrap();
    permit.success();
    #[cfg(feature = "wrong")]
    breaker.try_acquire().unwrap();
}
