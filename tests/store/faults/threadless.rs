//! A process that has reached the limit of its threads: what is to be saved is saved once threads
//! can be started again.

use std::{fs, io::stdin, path::PathBuf};

use tower_breaker::{Breaker, State};

use super::processes::Played;
use crate::support::{
    child::{Role, RoleResult, Unprivileged, argument, say},
    kind::Kind,
    limits::{can_start_threads, limit_threads},
    wait::{MINUTE, holds_in_time},
};

pub(crate) const LIMITED: &str = "limited process";

/// The role: builds a breaker without threads, and saves it once there can be threads.
pub(crate) fn live() -> RoleResult {
    let mut lines = stdin().lines();
    limit_threads(1)?;
    let can_start = can_start_threads();
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
    limit_threads(1000)?;
    let is_healthy = holds_in_time(|| breaker.store_health().is_healthy());
    let flushed = breaker.flush_blocking(MINUTE).is_ok();
    say(&format!("{is_healthy} {flushed}"));
    Ok(())
}

/// Runs such a process on a store.
pub(super) fn play(kind: Kind, unprivileged: &Unprivileged) -> Played {
    let mut played = Played::default();
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    unprivileged.give(&work);
    let role = Role::by(unprivileged.command(), LIMITED).argument("KIND", kind.name());
    let mut process = role.argument("FOLDER", work.join("state")).start();
    let said = process.line().unwrap_or_default();
    played.check(said.starts_with("false true degraded, 1 unsaved"), &said);
    let (health, flushed) = said.split_once(" | ").unwrap_or_default();
    for said in [health, flushed] {
        played.check(said.contains("writer thread cannot be started"), said);
    }
    health.trim_start_matches("false true ").clone_into(&mut played.said);
    played.check(process.ask() == "true true", "it does not heal");
    // The child may have to end before its folder can be opened.
    process.line();
    let breaker = Breaker::builder("a").store(kind.open(&work.join("state"))).build().unwrap();
    let is_saved = holds_in_time(|| breaker.state() == State::ForcedOpen);
    played.check(is_saved, "what changed is not saved later");
    played
}
