//! What the clocks do, and what a breaker does when the machine's clocks misbehave.

mod bad_counter;
mod basics;
mod custom;
mod during_rounds;
mod faults;
pub(crate) mod isolated;
mod parked;
mod suspended;
mod wall;
