//! Breakers by name, and breakers by key.

mod by_name;
mod events;
mod keyed;
mod reload;
