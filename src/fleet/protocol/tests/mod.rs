//! The protocol model-checked, and its rules one by one.

mod model;
mod rules;
pub(crate) mod server;
