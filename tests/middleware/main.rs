//! The breaker as tower middleware: the contract of `Service`, other middleware above and below,
//! waiting instead of rejecting, and the forms of a rejection.

mod borrowed_errors;
mod classify_fn;
mod classify_with;
mod composition;
mod contract;
/// The same for calls that are not counted for metrics, which take other paths.
#[path = "contract/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "it asks for its own name")]
mod contract_unmetered;
mod exempt;
mod inner_answers;
mod inner_rejections;
mod nested;
mod rejections;
mod waiting;
