//! Sets of codes and of statuses, clocks and histories.
//!
//! E0277: GrpcCodes; Statuses; Clock; HistoryStore
//! says: `u8` is not a set of gRPC codes
//! says: pass a `GrpcCode`, or an array or a slice of them
//! says: `u8` is not a set of HTTP statuses
//! says: pass a `StatusCode`, an array or a slice of them, or an inclusive range of numbers
//! says: `u8` is not a clock
//! says: use `SystemClock` (the default), `TokioClock::new()` or `ManualClock::new()`
//! says: `Plain` does not store histories
//! says: a store does not have to keep histories

use tower_breaker::{
    Breaker,
    classify::{GrpcClassifier, GrpcCode, StatusClassifier},
    clock::ManualClock,
    store::HistoryStore,
};

struct Plain;

fn history(_store: &Plain) -> Option<&dyn HistoryStore> {
    #[cfg(feature = "wrong")]
    return Some(_store);
    #[cfg(not(feature = "wrong"))]
    None
}

fn main() {
    #[cfg(not(feature = "wrong"))]
    let (codes, statuses, clock) = (GrpcCode::Aborted, 500..=599, ManualClock::new());
    #[cfg(feature = "wrong")]
    let (codes, statuses, clock) = (10_u8, 10_u8, 10_u8);
    let _ = GrpcClassifier::new().failure(codes);
    let _ = StatusClassifier::new().failure(statuses);
    let _ = Breaker::builder("clock").clock(clock);
    let _ = history(&Plain);
    let _ = (GrpcCode::Aborted, ManualClock::new());
}
