//! The state machine, compared with a reference model, and the inputs that fuzzing has found.

mod corpus;
mod model;
