//! What the clocks do, and what a breaker does when the machine's clocks misbehave.

mod bad_counter;
mod basics;
pub(crate) mod isolated;
mod suspended;
mod wall;
