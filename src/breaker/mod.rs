//! The state machine, and around it what makes it concurrent: synchronous, without I/O, and
//! independent of any runtime.
//!
//! A call is admitted by [`permit`], which asks the [`cell`]; its result goes the same way back,
//! where [`recording`] gives back the slot of a [probe](probes). [`restore`] judges what a stored
//! state is still worth.
//!
//! # Files
//!
//! From the bottom up: a file imports only from its own row and rows above it. `tests/architecture`
//! holds the table against the imports.
//!
//! | file | holds |
//! |---|---|
//! | `window` | the last calls, by number or by time |
//! | `admission` | admitted calls, and how many more may be admitted |
//! | `probes` | the probes of a half-open circuit: their slots, and what their results decide |
//! | `ramp`, `open_time` | the way back: how many calls are admitted, and how long none is |
//! | `standing` | how the state of a machine compares with a snapshot that is read later |
//! | `open_slot`, `open_slots` | what bounds how many circuits of a group are open at once |
//! | `counter`, `failure_log` | one counter of successes, and failures that are noted without the lock |
//! | `spread_counters`, `success_counter` | the counters of a breaker on which threads have met; all of them |
//! | `waker_set`, `wait_queue` | wakers; the tasks that wait for the circuit to admit calls |
//! | `rules` | when the circuit opens |
//! | `effects` | what a transaction did to the machine |
//! | `notify` | who is notified of it, and in which order |
//! | `sharing` | what the machine of a shared breaker keeps for the fleet |
//! | `machine`, `recording` | the state machine, pure, and how its calls end |
//! | `command` | what is done by hand |
//! | `shared_machine` | what the fleet's thread does to a machine |
//! | `decoded`, `restore` | from a machine to a snapshot, and back |
//! | `status` | what an operator wants to know |
//! | `fast_path_view` | what callers need to know to do without the lock |
//! | `packed_state`, `success_state` | that, in one word each: for admission, and for a success |
//! | `published_view` | that, in atomics |
//! | `core` | what the lock guards |
//! | `dispatch` | delivers events, in order and without the lock |
//! | `cell` | the memory of one breaker: the lock, and the published view in front |
//! | `pool` | the cells that no breaker has |
//! | `nesting` | which breakers' calls run on this thread |
//! | `permit` | the permission to make one call |
//! | `health_check` | what health checks do besides making calls |

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
