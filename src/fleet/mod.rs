//! Breakers that replicas of a service share.

pub(crate) mod protocol;
