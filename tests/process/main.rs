//! Processes: servers that are restarted, killed, and have their folders damaged, locked and made
//! read-only; the examples; and the program `tower-breaker-inspect`.
//!
//! A child process is this same test binary, which an environment variable gives a role.

mod child;
mod examples;
mod flapping;
mod hammer;
mod inspect;
mod restart;
mod storage;
#[cfg(unix)]
mod termination;
