//! The state machine, compared with a reference model; how calls end; and the inputs that fuzzing
//! has found.

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod calls;
mod corpus;
mod model;
mod threads;
