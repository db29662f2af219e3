//! The state machine, and around it what makes it concurrent: synchronous, without I/O, and
//! independent of any runtime.
//!
//! From the bottom up: [`window`] and [`rules`] decide when to open; [`probes`], [`ramp`] and
//! [`open_time`] the way back; [`machine`] is all of it, pure, [`recording`] is how its calls end,
//! and [`command`] what is done by hand. [`open_slot`] is what a circuit needs to open where its
//! group bounds that. [`restore`] turns a machine into a snapshot and back, and [`fast_path_view`]
//! into what [`packed_state`], [`success_state`] and [`published_view`] show to callers without
//! the lock. [`core`] is what the lock guards, [`cell`] the lock and the published view together,
//! leased from a [`pool`]; and a [`permit`] is a call that it admitted. From there a result goes
//! the same way back, and the machine frees the slot of a probe.

mod admission;
pub(crate) mod cell;
pub(crate) mod command;
mod core;
mod counter;
mod decoded;
mod dispatch;
pub(crate) mod effects;
mod failure_log;
mod fast_path_view;
#[cfg(feature = "health-check")]
mod health_check;
pub(crate) mod machine;
pub(crate) mod nesting;
pub(crate) mod notify;
pub(crate) mod open_slot;
#[cfg(feature = "keyed")]
pub(crate) mod open_slots;
mod open_time;
mod packed_state;
pub(crate) mod permit;
pub(crate) mod pool;
pub(crate) mod probes;
mod published_view;
mod ramp;
mod recording;
mod restore;
mod rules;
#[cfg(feature = "redis")]
mod shared_machine;
#[cfg(not(feature = "redis"))]
#[path = "shared_machine/off.rs"]
mod shared_machine;
#[cfg(feature = "redis")]
pub(crate) mod sharing;
#[cfg(not(feature = "redis"))]
#[path = "sharing/off.rs"]
mod sharing;
mod spread_counters;
mod standing;
#[cfg(any(feature = "admin", feature = "redis"))]
pub(crate) mod status;
mod success_counter;
mod success_state;
pub(crate) mod wait_queue;
mod waker_set;
pub(crate) mod window;

#[cfg(all(test, tower_breaker_loom))]
mod loom_tests;

pub use permit::Permit;
