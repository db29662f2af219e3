//! Compares circuit breakers: each wraps the same bare service and receives the same calls.
//!
//! A measurement is one complete call: `poll_ready`, `call`, and polling the future to
//! completion, without a runtime.

mod call;
mod candidates;
mod inner;
mod scenario;

pub use call::{Seen, drive, failures_until_rejected};
pub use candidates::{Candidate, CandidateService, PREPARED, Visitor, visit};
pub use inner::{Down, FAIL, HEALTHY, Inner, SLOW, SLOWER_THAN, counted_calls};
pub use scenario::{PATTERN, Requests, Rule, Scenario};
