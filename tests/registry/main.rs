//! Breakers by name, and breakers by key.

#[path = "../support/mod.rs"]
mod support;

mod by_name;
mod during_load;
mod during_log;
mod during_takeover;
mod events;
mod keyed;
mod model;
mod reload;
