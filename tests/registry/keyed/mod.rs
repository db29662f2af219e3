//! A breaker for each key.

mod bounds;
mod by_hand;
mod endpoints;
mod extract;
mod group;
mod layer;
mod layer_model;
mod max_open;
mod model;
mod over_sockets;
mod stored;
mod stored_deletions;
mod stored_late;
mod threads;
