//! What several test binaries share: each includes it as `#[path = "../support/mod.rs"] mod
//! support;`.
#![allow(dead_code, unused_imports, unused_macros, reason = "no binary uses all of it")]

pub(crate) mod acl;
pub(crate) mod bound;
pub(crate) mod certificates;
pub(crate) mod child;
pub(crate) mod folder;
#[cfg(unix)]
pub(crate) mod fork;
pub(crate) mod kind;
#[cfg(target_os = "linux")]
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod pass_on;
pub(crate) mod random;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod redis_sentinel;
pub(crate) mod sick_store;
pub(crate) mod skip;
#[cfg(target_os = "linux")]
pub(crate) mod slow_disk;
pub(crate) mod wait;
