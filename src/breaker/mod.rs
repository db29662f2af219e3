//! The state machine: synchronous, without I/O, and free of any runtime.

pub(crate) mod cell;
pub(crate) mod machine;
pub(crate) mod notify;
mod open_time;
mod packed_state;
mod permit;
pub(crate) mod pool;
mod probes;
mod ramp;
pub(crate) mod restore;
mod rules;
mod success_counter;
pub(crate) mod wait_queue;
mod waker_set;
mod window;

#[cfg(all(test, tower_breaker_loom))]
mod loom_tests;

pub use permit::Permit;
