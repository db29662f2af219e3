//! A permit records one outcome.
//!
//! E0382: permit; success

use tower_breaker::Breaker;

fn main() {
    let breaker = Breaker::builder("permit").build().unwrap();
    let permit = breaker.try_acquire().unwrap();
    permit.success();
    #[cfg(feature = "wrong")]
    permit.failure();
}
