//! The state machine: synchronous, without I/O, and free of any runtime.

pub(crate) mod cell;
#[cfg(all(test, tower_breaker_loom))]
mod loom_tests;
pub(crate) mod machine;
mod permit;
pub(crate) mod pool;
mod recovery;
pub(crate) mod restore;
mod tally;
mod trip;
mod waiters;
mod window;
mod word;

pub use permit::Permit;
