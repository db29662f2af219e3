//! What the clocks do, and what a breaker does when the machine's clocks misbehave.

mod bad_counter;
mod basics;
mod isolated;
mod suspended;
