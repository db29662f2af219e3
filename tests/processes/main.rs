//! Restarts on real processes: servers are killed, and their folders damaged, locked and made
//! read-only.
//!
//! A child process is this same test binary, told by its environment to play a role.

mod child;
mod flapping;
mod hammer;
mod restart;
mod storage;
#[cfg(unix)]
mod termination;
