//! Circuit breakers side by side: the same bare service behind each, the same calls to all.
//!
//! A measurement is one whole call: `poll_ready`, `call`, and the future polled to its end,
//! without a runtime.

mod call;
mod candidates;
mod inner;
mod scenario;

pub use call::{Seen, drive, failures_until_rejected};
pub use candidates::{Candidate, CandidateService, PREPARED, Visitor, visit};
pub use inner::{Down, FAIL, HEALTHY, Inner, counted_calls};
pub use scenario::Scenario;
