//! `FileStore` below breakers: trouble with its folder affects no call, and heals.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_breaker::{
    Breaker, Event, FileStore, State, StateStore, Trip,
    store::{SaveEntry, StoreHealth},
};

use crate::support::{
    child::{RoleResult, argument, say},
    wait::{MINUTE, eventually},
};

fn breaker(name: &str, folder: &Path) -> Breaker {
    let store = FileStore::open(folder).unwrap();
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(1));
    builder.store(store).flush_interval(Duration::from_millis(20)).build().unwrap()
}

/// Drops the breaker and waits until its last state is stored, which can take longer than the drop.
fn drop_and_wait(breaker: Breaker, folder: &Path) {
    drop(breaker);
    let store = FileStore::open(folder).unwrap();
    eventually("the folder is free", || store.load_page(None, 1).is_ok());
}

fn stored(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(format!("{name}.json"))).unwrap_or_default()
}

#[test]
fn a_transition_is_readable_on_disk_while_the_breaker_runs() {
    let dir = tempfile::tempdir().unwrap();
    let breaker = breaker("payments", dir.path());
    breaker.try_acquire().unwrap().failure();
    eventually("the trip is stored", || {
        stored(dir.path(), "payments").contains(r#""state":"open""#)
    });
    let text = stored(dir.path(), "payments");
    assert_eq!(text.lines().count(), 1);
    let snapshot: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot["failure_count"], 1);
}

#[test]
fn a_deleted_folder_is_created_again_and_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let deleted = Breaker::builder("deleted")
        .store(FileStore::open(&folder).unwrap())
        .on_event(move |event| {
            if let Event::Store(event) = event {
                listener.lock().unwrap().push(event.health.to_string());
            }
        })
        .build()
        .unwrap();
    eventually("it is stored", || deleted.flush_blocking(MINUTE).is_ok());
    // A busy disk can take longer than a second.
    eventually("it is healthy", || deleted.store_health() == StoreHealth::Healthy);
    heard.lock().unwrap().clear();
    fs::remove_dir_all(&folder).unwrap();
    deleted.force_open();
    eventually("the state is stored again", || stored(&folder, "deleted").contains("forced_open"));
    eventually("it is healthy again", || deleted.store_health() == StoreHealth::Healthy);
    eventually("the listener has received both changes", || heard.lock().unwrap().len() > 1);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("removed") && heard[1] == "healthy", "{heard:?}");
}

#[test]
fn a_folder_in_use_is_taken_over_with_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let first = breaker("held", dir.path());
    let second = breaker("held", dir.path());
    let health = second.store_health().to_string();
    assert!(health.contains("held by another process"), "{health}");
    assert!(second.try_acquire().is_ok());
    first.force_open();
    drop(first);
    eventually("the second takes over", || second.store_health() == StoreHealth::Healthy);
    eventually("it has the state of the first", || second.state() == State::ForcedOpen);
}

#[test]
fn a_file_that_cannot_be_written_does_not_affect_other_breakers() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let on = |name: &str| Breaker::builder(name).store(store.clone()).build().unwrap();
    fs::create_dir_all(dir.path().join("troubled.json/below")).unwrap();
    let (troubled, other) = (on("troubled"), on("other"));
    troubled.force_open();
    other.force_open();
    eventually("the other is stored", || stored(dir.path(), "other").contains("forced_open"));
    eventually("the health names the file", || {
        troubled.store_health().to_string().contains("troubled.json")
    });
    fs::remove_dir_all(dir.path().join("troubled.json")).unwrap();
    eventually("it heals", || stored(dir.path(), "troubled").contains("forced_open"));
}

#[test]
fn a_damaged_snapshot_restores_to_closed_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    drop_and_wait(breaker("damaged", dir.path()), dir.path());
    fs::write(dir.path().join("damaged.json"), "{ state: open, please }\n").unwrap();
    let damaged = breaker("damaged", dir.path());
    assert_eq!(damaged.state(), State::Closed);
    eventually("it is stored", || damaged.flush_blocking(MINUTE).is_ok());
    let kept = fs::read_to_string(dir.path().join("damaged+quarantine.json")).unwrap();
    assert!(kept.contains("state: open, please"), "{kept}");
    assert!(stored(dir.path(), "damaged").contains(r#""state":"closed""#));
}

/// The role of a child: for each line of input, says the state of its breaker and the health of
/// its store, and makes two transitions.
pub(crate) fn watch() -> RoleResult {
    let breaker = breaker("watched", Path::new(&argument("FOLDER")));
    for line in std::io::stdin().lines() {
        line?;
        say(&format!("{} {}", breaker.state(), breaker.store_health()));
        breaker.reset();
        breaker.disable();
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_read_and_heals() {
    use crate::support::child::{Role, Unprivileged, set_mode};

    let dir = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(dir.path()) else {
        println!("skipped: permissions apply to no process here");
        return;
    };
    let folder = dir.path().join("state");
    let filled = breaker("watched", &folder);
    filled.force_open();
    drop_and_wait(filled, &folder);
    let set_modes = |folder_mode, file_mode| {
        for entry in fs::read_dir(&folder).unwrap() {
            set_mode(&entry.unwrap().path(), file_mode);
        }
        set_mode(&folder, folder_mode);
    };
    set_modes(0o555, 0o444);
    let role = Role::by(unprivileged.command(), "watcher").argument("FOLDER", &folder);
    let mut child = role.start();
    let said = child.ask();
    assert!(said.starts_with("forced_open"), "the stored state can be read: {said}");
    eventually("the store is degraded", || child.ask().contains("Permission denied"));
    set_modes(0o777, 0o666);
    eventually("the store heals", || child.ask() == "disabled healthy");
    eventually("the newest state is stored", || stored(&folder, "watched").contains("disabled"));
}

/// Many snapshots are read at once. A file that cannot be read must not seem to be absent there: it
/// would be overwritten.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_hides_no_other_and_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("bad.json");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let names: Vec<_> = (0..200).map(|n| format!("breaker-{n}")).collect();
    let store = FileStore::open(dir.path()).unwrap();
    let build = |name: &String| Breaker::builder(name).store(store.clone()).build().unwrap();
    let opened: Vec<_> = names.iter().map(build).collect();
    opened.iter().for_each(Breaker::force_open);
    for breaker in &opened {
        breaker.flush_blocking(MINUTE).unwrap();
    }
    drop(opened);
    let again: Vec<_> = names.iter().map(build).collect();
    assert!(again.iter().all(|breaker| breaker.state() == State::ForcedOpen));
    let bad = build(&"bad".to_owned());
    bad.flush_blocking(MINUTE).unwrap_err();
    assert!(link.is_symlink());
}

/// Saves a file that belongs to another user.
#[cfg(target_os = "linux")]
pub(crate) const WRITER: &str = "writer";

#[cfg(target_os = "linux")]
pub(crate) fn write_twice() -> RoleResult {
    let store = FileStore::open(argument("FOLDER"))?;
    for value in ["first", "second"] {
        store.save(&SaveEntry::new("circuit_breaker:a:state", value))?;
    }
    say("saved");
    Ok(())
}

/// As root of a container that has few rights: it may give files away, and not change the mode of
/// those of others.
#[cfg(target_os = "linux")]
#[test]
fn root_with_few_rights_saves_the_files_of_other_users() {
    use std::{
        env,
        os::unix::fs::{MetadataExt as _, chown},
        process::Command,
    };

    use crate::support::{
        child::{Role, set_mode},
        skip,
    };

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    fs::write(&file, "{}\n").unwrap();
    set_mode(&file, 0o640);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-fowner"]).arg(env::current_exe().unwrap());
    if chown(&file, Some(65534), Some(65534)).is_err() {
        // This is not root.
        return;
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        return skip::missing("setpriv is missing (Debian: apt-get install util-linux)");
    }
    let mut writer = Role::by(command, WRITER).argument("FOLDER", dir.path()).start();
    assert_eq!(writer.line().as_deref(), Some("saved"));
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 65534, 0o640));
    assert_eq!(fs::read_to_string(&file).unwrap(), "second\n");
}
