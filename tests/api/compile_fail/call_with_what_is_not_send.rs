//! The future of a call is `Send` only if that of the inner service is.
//!
//! E0277: Rc; Send

use std::rc::Rc;

use tower::{Layer, Service, service_fn};
use tower_breaker::CircuitBreakerLayer;

fn is_send<T: Send>(_: T) {}

fn main() {
    let layer = CircuitBreakerLayer::builder("future").build().unwrap();
    let mut sent = layer.layer(service_fn(|()| std::future::ready(Ok::<_, ()>(()))));
    is_send(sent.call(()));
    let mut local = layer.layer(service_fn(|()| std::future::ready(Ok::<_, ()>(Rc::new(())))));
    let call = local.call(());
    #[cfg(feature = "wrong")]
    is_send(call);
    #[cfg(not(feature = "wrong"))]
    drop(call);
}
