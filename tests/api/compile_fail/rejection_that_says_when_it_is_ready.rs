//! Only `Backpressure` makes callers wait: other rejections cannot change their readiness.
//!
//! E0326: WHILE_OPEN

use std::future::{Ready, ready};

use tower_breaker::{Rejected, reject::Reject};

struct Late;

impl Reject<(), (), Rejected> for Late {
    #[cfg(feature = "wrong")]
    const WHILE_OPEN: bool = true;

    type Error = Rejected;
    type Future = Ready<Result<(), Rejected>>;

    fn reject(&self, (): (), rejected: Rejected) -> Self::Future {
        ready(Err(rejected))
    }
}

fn main() {
    let _ = Late;
}
