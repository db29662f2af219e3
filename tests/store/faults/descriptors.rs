//! A process that has used up its file descriptors: what is to be saved is saved once it has some
//! again.

use std::{
    fs::{self, File},
    io::stdin,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tower_breaker::{Breaker, State};

use super::processes::Played;
use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
    wait::{MINUTE, holds_in_time},
};

pub(crate) const EXHAUSTED: &str = "process without descriptors";

/// Opens files until that is an error.
fn use_up() -> Vec<File> {
    (0..10_000).map_while(|_| File::open("/dev/null").ok()).collect()
}

/// The role: builds breakers and changes their states without a file descriptor to be had.
pub(crate) fn live() -> RoleResult {
    let mut lines = stdin().lines();
    let limit = Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit)?;
    let (folder, kind) = (PathBuf::from(argument("FOLDER")), Kind::named(&argument("KIND")));
    let runs_before = argument("MOMENT") == "run";
    let mut held = if runs_before { Vec::new() } else { use_up() };
    let store = kind.open(&folder);
    let build = |name: &str| Breaker::builder(name).store(store.clone()).build();
    let (breaker, other) = (build("a")?, build("b")?);
    if runs_before {
        breaker.disable();
        assert!(holds_in_time(|| breaker.flush_blocking(MINUTE).is_ok()));
        held = use_up();
    }
    breaker.force_open();
    let rejects = breaker.try_acquire().is_err();
    other.try_acquire()?.failure();
    let flushed = breaker.flush_blocking(MINUTE);
    let flushed = flushed.map_or_else(|error| error.to_string(), |()| "saved".to_owned());
    say(&format!("{rejects} {} | {flushed}", breaker.store_health()));
    lines.next();
    drop(held);
    let is_healthy = holds_in_time(|| breaker.store_health().is_healthy());
    let flushed = holds_in_time(|| other.flush_blocking(MINUTE).is_ok());
    say(&format!("{is_healthy} {flushed}"));
    lines.next();
    Ok(())
}

/// Runs such a process on a store, from its start or later.
pub(super) fn play(kind: Kind, moment: &str) -> Played {
    let mut played = Played::default();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let role = Role::new(EXHAUSTED).argument("KIND", kind.name()).argument("MOMENT", moment);
    let mut process = role.argument("FOLDER", &folder).start();
    let said = process.line().unwrap_or_default();
    let (health, flushed) = said.split_once(" | ").unwrap_or_default();
    let Some(health) = health.strip_prefix("true ") else {
        played.check(false, &said);
        return played;
    };
    // A database has its files open already.
    let may_save = moment == "run" && kind != Kind::File;
    if !(may_save && health == "healthy" && flushed == "saved") {
        played.check(health.contains("degraded") && health.contains("Too many open files"), health);
        played.check(flushed != "saved", flushed);
    }
    health.clone_into(&mut played.said);
    played.check(process.ask() == "true true", "it does not heal");
    drop(process);
    check_saved(&mut played, kind, &folder);
    played
}

/// Checks what a process finds that starts after the other one was killed.
fn check_saved(played: &mut Played, kind: Kind, folder: &Path) {
    let store = kind.open(folder);
    let build = |name: &str| Breaker::builder(name).store(store.clone()).build().unwrap();
    let (a, b) = (build("a"), build("b"));
    let is_saved =
        holds_in_time(|| a.state() == State::ForcedOpen && b.stats().consecutive_failures() == 1);
    played.check(is_saved, "what changed is not saved later");
    let asides = fs::read_dir(folder.parent().unwrap()).unwrap().count() - 1;
    played.check(asides == 0, "a folder without damage was moved aside");
}
