//! What else happens to a folder that is in use.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use tower_breaker::{
    Breaker, SledStore, State, StateStore,
    store::{FileStore, SaveEntry},
};

use super::{
    child::can_mount,
    fault::{fill, mount},
};
use crate::support::{
    child::{Role, RoleResult, Unprivileged, argument, say, set_mode},
    kind::Kind,
    wait::{MINUTE, eventually, holds_in_time},
};

pub(crate) const LOCKED_OUT: &str = "locked out of its folder";
pub(crate) const CROWDED: &str = "on a disk that is full before a batch ends";

const STATE: &str = "circuit_breaker:a:state";

/// A breaker that is forced open and saved.
fn forced_open(kind: Kind, folder: &Path) -> Breaker {
    let breaker = Breaker::builder("a").store(kind.open(folder)).build().unwrap();
    breaker.force_open();
    eventually("it is saved", || breaker.flush_blocking(MINUTE).is_ok());
    breaker
}

/// The breaker is disabled while its store does not work, goes on, and says so.
fn assert_goes_on(kind: Kind, breaker: &Breaker) {
    breaker.disable();
    eventually("it is noticed", || breaker.store_health().is_degraded());
    assert!(breaker.flush_blocking(MINUTE).is_err(), "{kind:?}");
    assert!(breaker.try_acquire().is_ok(), "{kind:?}");
}

/// The store works again, and the next process finds what was saved.
fn assert_recovers(kind: Kind, breaker: Breaker, folder: &Path) {
    let is_saved = || breaker.flush_blocking(MINUTE).is_ok() && breaker.store_health().is_healthy();
    eventually("it is saved", is_saved);
    drop(breaker);
    let again = Breaker::builder("a").store(kind.open(folder)).build().unwrap();
    assert!(holds_in_time(|| again.state() == State::Disabled), "{kind:?}");
}

#[test]
fn a_folder_that_becomes_a_file_is_left_alone_until_it_is_gone() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let breaker = forced_open(kind, &folder);
        fs::rename(&folder, dir.path().join("moved")).unwrap();
        fs::write(&folder, "a file").unwrap();
        assert_goes_on(kind, &breaker);
        assert_eq!(fs::read(&folder).unwrap(), b"a file");
        fs::remove_file(&folder).unwrap();
        assert_recovers(kind, breaker, &folder);
    }
}

/// As at a deploy that keeps the state beside the program.
#[test]
fn a_link_to_the_folder_that_leads_to_another_one_is_followed() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (link, next) = (dir.path().join("current"), dir.path().join("next"));
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        for folder in [&first, &second] {
            fs::create_dir(folder).unwrap();
        }
        symlink(&first, &link).unwrap();
        let breaker = forced_open(kind, &link);
        symlink(&second, &next).unwrap();
        fs::rename(&next, &link).unwrap();
        eventually("it is saved there", || fs::read_dir(&second).unwrap().count() > 0);
        breaker.disable();
        assert_recovers(kind, breaker, &second);
        let first = Breaker::builder("a").store(kind.open(&first)).build().unwrap();
        assert!(holds_in_time(|| first.state() == State::ForcedOpen), "{kind:?}: it was released");
    }
}

#[test]
fn a_lock_file_that_is_deleted_lets_another_store_in_and_this_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    let breaker = forced_open(Kind::File, dir.path());
    fs::remove_file(dir.path().join("+lock")).unwrap();
    let other = FileStore::open(dir.path()).unwrap();
    // The breaker's store notices it by itself, and may be the first to take a new lock.
    let mut is_in = other.load(STATE).is_ok();
    if !is_in {
        eventually("it is healthy", || breaker.store_health().is_healthy());
        fs::remove_file(dir.path().join("+lock")).unwrap();
        is_in = other.load(STATE).is_ok();
    }
    if is_in {
        assert_goes_on(Kind::File, &breaker);
        let found = other.load(STATE).unwrap().unwrap();
        assert!(String::from_utf8_lossy(&found).contains("forced_open"), "it was not overwritten");
        drop(other);
    } else {
        breaker.disable();
    }
    assert_recovers(Kind::File, breaker, dir.path());
}

/// sled writes large pages to files in it, and would wait forever if that fails.
#[test]
fn a_subfolder_of_sled_that_is_removed_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store.save(&SaveEntry::new("small", "value")).unwrap();
    fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    let (reply, saved) = std::sync::mpsc::channel();
    let writer = store.clone();
    std::thread::spawn(move || {
        let large = SaveEntry::new("large", vec![b'x'; 300_000]);
        let is_saved = (0..10).any(|_| writer.save(&large).is_ok());
        reply.send(is_saved).unwrap();
    });
    assert_eq!(saved.recv_timeout(MINUTE), Ok(true), "it waits forever");
    assert_eq!(store.load("small").unwrap().unwrap(), b"value");
    assert_eq!(store.load("large").unwrap().unwrap().len(), 300_000);
}

/// The role: disables its breaker while the folder cannot be entered, and once it can be again.
pub(crate) fn lose_permission() -> RoleResult {
    let kind = Kind::named(&argument("KIND"));
    let breaker = forced_open(kind, &PathBuf::from(argument("FOLDER")));
    say("saved");
    std::io::stdin().lines().next();
    assert_goes_on(kind, &breaker);
    say("goes on");
    std::io::stdin().lines().next();
    holds_in_time(|| breaker.flush_blocking(MINUTE).is_ok());
    breaker.flush_blocking(MINUTE)?;
    say("saved again");
    Ok(())
}

#[test]
fn permissions_that_are_taken_away_and_given_back_cost_nothing() {
    let around = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else { return };
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        unprivileged.give(&work);
        let state = work.join("state");
        let role = Role::by(unprivileged.command(), LOCKED_OUT).argument("KIND", kind.name());
        let mut process = role.argument("FOLDER", &state).start();
        assert_eq!(process.line().as_deref(), Some("saved"), "{kind:?}");
        set_mode(&state, 0);
        assert_eq!(process.ask(), "goes on", "{kind:?}");
        set_mode(&state, 0o755);
        assert_eq!(process.ask(), "saved again", "{kind:?}");
        process.line();
        let again = Breaker::builder("a").store(kind.open(&state)).build().unwrap();
        assert!(holds_in_time(|| again.state() == State::Disabled), "{kind:?}");
    }
}

const ENTRIES: usize = 30;

/// Values of this size need more of the disk with each save; those of sled stay in its log.
fn size(kind: Kind, mark: u8) -> usize {
    if kind == Kind::File && mark > 1 { 9_000 } else { 6_000 }
}

fn entries(kind: Kind, mark: u8) -> Vec<SaveEntry> {
    let value = vec![mark; size(kind, mark)];
    (0..ENTRIES).map(|i| SaveEntry::new(format!("key {i}"), value.clone())).collect()
}

/// How many values are those of each of these saves. Each is whole, and one of them.
fn count(kind: Kind, store: &dyn StateStore, marks: [u8; 2]) -> [usize; 2] {
    let mut counts = [0, 0];
    for i in 0..ENTRIES {
        let value = store.load(&format!("key {i}")).unwrap().expect("it was saved before");
        let whole = |mark: u8| value == vec![mark; size(kind, mark)];
        let place = marks.iter().position(|mark| whole(*mark));
        counts[place.expect("it is torn, or older")] += 1;
    }
    counts
}

/// The role: saves batches for which the disk has room in part alone.
pub(crate) fn save_in_part() -> RoleResult {
    let (kind, disk) = (Kind::named(&argument("KIND")), PathBuf::from(argument("FOLDER")));
    assert!(mount(&disk), "it could be mounted before");
    let (folder, ballast) = (disk.join("state"), disk.join("ballast"));
    let store = kind.open(&folder);
    store.save_all(&entries(kind, 1))?;
    fill(&ballast);
    let filled = fs::metadata(&ballast)?.len();
    fs::OpenOptions::new().write(true).open(&ballast)?.set_len(filled.saturating_sub(100_000))?;
    let failed = (2..200).find(|mark| store.save_all(&entries(kind, *mark)).is_err());
    let failed = failed.expect("the disk is never full");
    let read = || (0..ENTRIES).all(|i| store.load(&format!("key {i}")).is_ok());
    assert!(holds_in_time(read), "it cannot be read");
    let counts = count(kind, &*store, [failed - 1, failed]);
    assert!(kind != Kind::File || counts[1] > 0, "the disk has room for some of them");
    fs::remove_file(&ballast)?;
    assert!(holds_in_time(|| store.save_all(&entries(kind, 200)).is_ok()), "it does not heal");
    assert_eq!(count(kind, &*store, [failed, 200]), [0, ENTRIES]);
    drop(store);
    let store = kind.open(&folder);
    assert!(holds_in_time(|| store.load("any").is_ok()));
    assert_eq!(count(kind, &*store, [failed, 200]), [0, ENTRIES]);
    say("whole");
    Ok(())
}

#[test]
fn a_disk_that_is_full_before_a_batch_ends_tears_nothing() {
    if !can_mount() {
        return;
    }
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.arg("-m").arg(std::env::current_exe().unwrap());
        let role = Role::by(command, CROWDED).argument("KIND", kind.name());
        let mut process = role.argument("FOLDER", dir.path()).start();
        assert_eq!(process.line().as_deref(), Some("whole"), "{kind:?}");
    }
}
