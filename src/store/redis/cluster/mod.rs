//! Redis Cluster: each key is in one of 16,384 slots, and each slot belongs to one primary.
//!
//! The slots are read from the nodes, so that each connection has one server and is made as any
//! other, with its own credentials and timeouts.

mod command;
mod map;
mod router;
mod slot;

pub(super) use self::{
    map::SlotMap,
    router::Router,
    slot::{HashSlot, SLOTS, slot},
};
