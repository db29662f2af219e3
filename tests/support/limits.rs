//! Limits of the test's own process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::RoleResult;

/// Sets how many processes and threads the user of this process may have.
pub(crate) fn limit_threads(threads: u64) -> RoleResult {
    let before = getrlimit(Resource::Nproc);
    // It can be raised again up to the maximum.
    let threads = before.maximum.map_or(threads, |maximum| threads.min(maximum));
    Ok(setrlimit(Resource::Nproc, Rlimit { current: Some(threads), ..before })?)
}

/// Whether a thread can be started now.
pub(crate) fn can_start_threads() -> bool {
    std::thread::Builder::new().spawn(|| ()).is_ok()
}
