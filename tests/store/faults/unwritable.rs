//! Folders that can be read and not written to, and lack something or have something damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tower_breaker::{Breaker, State};

use crate::support::{
    child::{Role, RoleResult, Unprivileged, argument, say, set_mode},
    kind::Kind,
    wait::{MINUTE, holds_in_time},
};

pub(crate) const READER: &str = "reader of an unwritable folder";

/// The role: says the state that it finds and whether a new one can be saved, now and later.
pub(crate) fn read() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(&PathBuf::from(argument("FOLDER")));
    let breaker = Breaker::builder("a").store(store).build()?;
    let found = breaker.state();
    breaker.force_open();
    let saves = breaker.flush_blocking(MINUTE).is_ok();
    say(&format!("{found:?} {saves} {}", breaker.store_health().is_healthy()));
    std::io::stdin().lines().next();
    let saves = holds_in_time(|| breaker.flush_blocking(MINUTE).is_ok());
    say(&saves.to_string());
    Ok(())
}

/// A folder, and all that is in it.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { all_below(&path) } else { vec![path] });
    below.chain([folder.to_owned()]).collect()
}

/// Fills a folder, changes it, and has an unprivileged process read it while it is read-only, and
/// write to it afterwards.
fn check(kind: Kind, what: &str, change: impl FnOnce(&Path)) {
    check_with_files_of(0o444, kind, what, change);
}

fn check_with_files_of(mode: u32, kind: Kind, what: &str, change: impl FnOnce(&Path)) {
    let around = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let state = work.join("state");
    let breaker = Breaker::builder("a").store(kind.open(&state)).build().unwrap();
    breaker.disable();
    breaker.flush_blocking(MINUTE).unwrap();
    drop(breaker);
    change(&state);
    unprivileged.give(&work);
    let all = all_below(&state);
    let set_modes = |of_folders, of_files| {
        for path in &all {
            set_mode(path, if path.is_dir() { of_folders } else { of_files });
        }
    };
    for path in &all {
        unprivileged.give(path);
    }
    set_modes(0o555, mode);
    let role = Role::by(unprivileged.command(), READER).argument("KIND", kind.name());
    let mut process = role.argument("FOLDER", &state).start();
    assert_eq!(process.line().as_deref(), Some("Disabled false false"), "{kind:?}, {what}");
    set_modes(0o755, 0o644);
    assert_eq!(process.ask(), "true", "{kind:?}, {what}: it is not saved later");
    process.line();
    let again = Breaker::builder("a").store(kind.open(&state)).build().unwrap();
    assert!(holds_in_time(|| again.state() == State::ForcedOpen), "{kind:?}, {what}");
}

#[test]
fn a_folder_of_sled_that_is_read_only_is_salvaged_too() {
    check(Kind::Sled, "nothing", |_| {});
    check(Kind::Sled, "a damaged summary", |folder| {
        fs::write(folder.join("snap.00000000FFFFFFFF"), "not a summary").unwrap();
    });
    check(Kind::Sled, "an unfinished summary", |folder| {
        fs::write(folder.join("snap.00000000FFFFFFFF.generating"), "not a").unwrap();
    });
    check(Kind::Sled, "damaged settings", |folder| {
        fs::write(folder.join("conf"), "not settings").unwrap();
    });
}

/// As on a full disk: the damaged files cannot be moved aside.
#[test]
fn a_folder_of_sled_in_which_nothing_can_be_made_is_salvaged_too() {
    check_with_files_of(0o644, Kind::Sled, "a damaged summary", |folder| {
        fs::write(folder.join("snap.00000000FFFFFFFF"), "not a summary").unwrap();
    });
    check_with_files_of(0o644, Kind::Sled, "damaged settings", |folder| {
        fs::write(folder.join("conf"), "not settings").unwrap();
    });
}

#[test]
fn a_folder_of_files_without_a_lock_is_read_although_it_is_read_only() {
    check(Kind::File, "nothing", |_| {});
    check(Kind::File, "no lock", |folder| fs::remove_file(folder.join("+lock")).unwrap());
}
