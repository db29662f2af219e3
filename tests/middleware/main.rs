//! The breaker as tower middleware: the contract of `Service`, other middleware above and below,
//! waiting instead of rejecting, and the forms of a rejection.

mod borrowed_errors;
mod classify_fn;
mod classify_with;
mod composition;
mod contract;
mod exempt;
mod inner_rejections;
mod rejections;
mod waiting;
