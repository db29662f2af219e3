//! Processes that can start no thread for a while, and processes that fork.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    TIMER,
    support::{
        child::{Process, Role, RoleResult, Unprivileged, argument, say},
        fork, skip,
        wait::{eventually, holds_in_time},
    },
    threads,
};

/// What a process that forks is for.
pub(crate) const NEED: &str = "NEED";

const FOLDER: &str = "FOLDER";

/// Starts a process in a role that limits its threads, if limits apply here.
pub(crate) fn start_limited(role: &str, folder: &Path) -> Option<Process> {
    let Some(unprivileged) = Unprivileged::prepare(folder) else {
        eprintln!("skipped: limits apply to no process here");
        return None;
    };
    Some(Role::by(unprivileged.command(), role).start())
}

/// Starts a process in a role that [forks](say_of_forked), if there is a compiler for what it
/// forks with.
pub(crate) fn start_forking(role: &str, folder: &Path, need: &str) -> Option<Process> {
    let Some(library) = fork::library(folder) else {
        skip::missing("there is no C compiler (Debian: apt-get install gcc)");
        return None;
    };
    let role = Role::new(role).argument(FOLDER, folder).argument(NEED, need);
    Some(role.variable("LD_PRELOAD", library).start())
}

/// Forks once the timer's thread sleeps, and says what `live` returns in the child. It gets how
/// many of these threads the child has inherited.
pub(crate) fn say_of_forked(live: impl FnOnce(usize) -> String) -> RoleResult {
    eventually("the thread sleeps, and holds no lock", || threads(TIMER) > 0);
    thread::sleep(Duration::from_millis(300));
    let folder = PathBuf::from(argument(FOLDER));
    let report = folder.join("child");
    if fork::fork() {
        let said = live(threads(TIMER));
        fs::write(folder.join("child.part"), said)?;
        fs::rename(folder.join("child.part"), report)?;
        std::process::exit(0);
    }
    let is_there = holds_in_time(|| report.exists());
    say(&fs::read_to_string(report).unwrap_or_default());
    assert!(is_there, "the child has not reported");
    Ok(())
}
