//! The methods that set when an outcome is recorded replace a setting of the layer. (Called as
//! methods, the compiler itself suggests the bound.)
//!
//! E0277: SetPreset; SetOnBodyEnd
//! says: `.http()` and `.grpc()` cannot replace the setting `O`
//! says: in generic code, add the bound `O: tower_breaker::body::SetPreset`
//! says: `.on_body_end(..)` cannot replace the setting `O`
//! says: in generic code, add the bound `O: tower_breaker::body::SetOnBodyEnd`

#[cfg(not(feature = "wrong"))]
use tower_breaker::body::{SetOnBodyEnd, SetPreset};
use tower_breaker::{CircuitBreakerLayer, OnBodyEnd};

#[cfg(not(feature = "wrong"))]
fn set<C, R, O: SetPreset + SetOnBodyEnd + Clone>(layer: CircuitBreakerLayer<C, R, O>)
where
    C: Clone,
    R: Clone,
{
    drop(CircuitBreakerLayer::http(layer.clone()));
    drop(CircuitBreakerLayer::on_body_end(layer, OnBodyEnd::new()));
}

#[cfg(feature = "wrong")]
fn set<C, R, O: Clone>(layer: CircuitBreakerLayer<C, R, O>)
where
    C: Clone,
    R: Clone,
{
    drop(CircuitBreakerLayer::http(layer.clone()));
    drop(CircuitBreakerLayer::on_body_end(layer, OnBodyEnd::new()));
}

fn main() {
    set(CircuitBreakerLayer::builder("generic").build().unwrap());
}
