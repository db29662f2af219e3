//! The protocol model-checked, and its rules one by one.

pub(crate) mod counter;
mod model;
mod probes;
mod rules;
pub(crate) mod server;
