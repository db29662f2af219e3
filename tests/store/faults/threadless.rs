//! A process that has reached the limit of its threads: what is to be saved is saved once threads
//! can be started again.

use std::{
    fs,
    io::stdin,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tower_breaker::{Breaker, State};

use crate::support::{
    child::{Role, RoleResult, Unprivileged, argument, say},
    kind::Kind,
    wait::{MINUTE, holds_in_time},
};

pub(crate) const LIMITED: &str = "limited process";

/// The role: builds a breaker without threads, and saves it once there can be threads.
pub(crate) fn live() -> RoleResult {
    let mut lines = stdin().lines();
    limit(1)?;
    let can_start = std::thread::Builder::new().spawn(|| ()).is_ok();
    let folder = PathBuf::from(argument("FOLDER"));
    let store = Kind::named(&argument("KIND")).open(&folder);
    let breaker = Breaker::builder("a").store(store.clone()).build()?;
    let other = Breaker::builder("b").store(store).build()?;
    breaker.force_open();
    let rejects = breaker.try_acquire().is_err();
    let flushed =
        breaker.flush_blocking(MINUTE).map_or_else(|error| error.to_string(), |()| "saved".into());
    // It does not wait.
    drop(other);
    say(&format!("{can_start} {rejects} {} | {flushed}", breaker.store_health()));
    lines.next();
    limit(1000)?;
    let is_healthy = holds_in_time(|| breaker.store_health().is_healthy());
    let flushed = breaker.flush_blocking(MINUTE).is_ok();
    say(&format!("{is_healthy} {flushed}"));
    Ok(())
}

/// Sets how many processes and threads the user of this process may have.
fn limit(threads: u64) -> RoleResult {
    let before = getrlimit(Resource::Nproc);
    // It can be raised again up to the maximum.
    let threads = before.maximum.map_or(threads, |maximum| threads.min(maximum));
    Ok(setrlimit(Resource::Nproc, Rlimit { current: Some(threads), ..before })?)
}

#[test]
fn what_changes_while_no_thread_can_be_started_is_saved_later() {
    let around = tempfile::tempdir().unwrap();
    // Root has no limit.
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else {
        println!("skipped: limits apply to no process here");
        return;
    };
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        unprivileged.give(&work);
        let role = Role::by(unprivileged.command(), LIMITED).argument("KIND", kind.name());
        let mut process = role.argument("FOLDER", work.join("state")).start();
        let said = process.line().unwrap_or_else(|| panic!("{}: it says nothing", kind.name()));
        println!("{}: {said}", kind.name());
        assert!(said.starts_with("false true degraded, 1 unsaved"), "{said}");
        let (health, flushed) = said.split_once(" | ").unwrap();
        for said in [health, flushed] {
            assert!(said.contains("writer thread cannot be started"), "{said}");
        }
        assert_eq!(process.ask(), "true true", "{}", kind.name());
        // The child may have to end before its folder can be opened.
        process.line();
        check(kind, &work.join("state"));
    }
}

fn check(kind: Kind, folder: &Path) {
    let breaker = Breaker::builder("a").store(kind.open(folder)).build().unwrap();
    assert!(holds_in_time(|| breaker.state() == State::ForcedOpen), "{}", kind.name());
}
