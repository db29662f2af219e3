//! A service behind a breaker is `Send` only if the inner service is.
//!
//! E0277: Rc; Send

use std::{rc::Rc, sync::Arc};

use tower::Layer;
use tower_breaker::CircuitBreakerLayer;

fn main() {
    let layer = CircuitBreakerLayer::builder("thread").build().unwrap();
    let shared = layer.layer(Arc::new(()));
    std::thread::spawn(move || drop(shared));
    let local = layer.layer(Rc::new(()));
    #[cfg(feature = "wrong")]
    std::thread::spawn(move || drop(local));
    #[cfg(not(feature = "wrong"))]
    drop(local);
}
