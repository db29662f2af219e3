//! What a breaker does when the machine's clocks, or those of users, misbehave.

mod bad_counter;
mod custom;
mod during_rounds;
mod faults;
mod suspended;
mod wall;

use crate::clock::tests::{Trap, isolated::isolate};

/// Runs a test of this folder with other clocks, in a process of its own.
fn with_other_clocks(path: &str, test: impl FnOnce(&'static Trap)) {
    isolate(&format!("handle::tests::{path}"), test);
}
