//! Breakers by name, and breakers by key.

#[path = "../support/mod.rs"]
mod support;

mod by_name;
mod during_load;
mod events;
mod keyed;
mod model;
mod reload;
