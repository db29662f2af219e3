//! What the clocks do. What a breaker does when they misbehave is in `handle::tests`.

mod basics;
pub(crate) mod isolated;

pub(crate) use super::sources::trap::{Speed, Trap};
