//! The state machine: synchronous, without I/O, and free of any runtime.

pub(crate) mod cell;
pub(crate) mod machine;
pub(crate) mod news;
mod permit;
pub(crate) mod pool;
pub(crate) mod queue;
mod recovery;
pub(crate) mod restore;
mod tally;
mod trip;
mod waiters;
mod window;
mod word;

#[cfg(all(test, tower_breaker_loom))]
mod loom_tests;

pub use permit::Permit;
