//! Breakers by name.

mod by_name;
mod events;
mod reload;
