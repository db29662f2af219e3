//! The state machine, compared with a reference model, and the inputs that fuzzing has found.

#[path = "../support/mod.rs"]
mod support;

mod corpus;
mod model;
