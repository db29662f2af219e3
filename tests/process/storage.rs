//! Servers whose folder is damaged, locked, or read-only.

use std::{ffi::OsString, fs};

use tower_breaker::{SledStore, StateStore, store::SaveEntry};

use super::server::Server;
use crate::support::wait::{MINUTE, eventually};

const KEY: &str = "circuit_breaker:upstream:state";

/// A folder with the state of a tripped breaker.
fn tripped() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), MINUTE);
    server.trip();
    server.flush();
    server.kill();
    folder
}

#[test]
fn a_corrupt_snapshot_restores_to_closed_and_its_bytes_are_kept() {
    for bytes in [&b"{\"version\": 1, \"state\": \"op"[..], b"\xff\x00\xfe", b""] {
        let folder = tempfile::tempdir().unwrap();
        SledStore::open(folder.path()).unwrap().save(&SaveEntry::new(KEY, bytes)).unwrap();
        let server = Server::start_again(folder.path(), MINUTE);
        assert_eq!(server.status("/ok"), 200);
        assert_eq!((server.state().as_str(), server.health().as_str()), ("closed", "Healthy"));
        assert!(server.log().contains("unreadable snapshot:"), "{}", server.log());
        server.trip();
        server.flush();
        server.kill();
        let store = SledStore::open(folder.path()).unwrap();
        let kept = store.load("circuit_breaker:upstream:quarantine").unwrap().unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        let kept = &kept[0];
        assert!(kept["reason"].is_string(), "{kept}");
        match std::str::from_utf8(bytes) {
            Ok(text) => assert_eq!(kept["text"], text),
            Err(_) => assert_eq!(kept["hex"], "ff00fe"),
        }
    }
}

#[test]
fn a_snapshot_of_a_newer_version_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let newer = br#"{"version": 2, "state": {"kind": "open"}}"#;
    SledStore::open(folder.path()).unwrap().save(&SaveEntry::new(KEY, newer)).unwrap();
    let server = Server::start(folder.path(), MINUTE);
    server.trip();
    assert_eq!(server.status("/flush"), 507);
    assert!(server.log().contains("version=2"), "{}", server.log());
    server.kill();
    let store = SledStore::open(folder.path()).unwrap();
    assert_eq!(store.load(KEY).unwrap().unwrap(), newer);
}

#[test]
fn damaged_settings_and_summaries_cost_nothing() {
    let folder = tripped();
    let state = folder.path();
    fs::write(state.join("conf"), "not a configuration").unwrap();
    fs::write(state.join("snap.00000000FFFFFFFF"), "not a summary").unwrap();
    let server = Server::start_again(state, MINUTE);
    assert_eq!(server.status("/ok"), 503);
    assert!(server.health().contains("moved its settings (conf) aside"), "{}", server.health());
    for moved in ["moved its summaries", "moved its settings"] {
        assert!(server.log().contains(moved), "{}", server.log());
    }
    server.kill();
    assert_eq!(Server::start_again(state, MINUTE).status("/ok"), 503);
}

#[cfg(unix)]
#[test]
fn an_unreadable_folder_is_kept_aside_and_a_new_one_started() {
    use std::os::unix::ffi::OsStringExt as _;

    let folder = tripped();
    let state = folder.path();
    // sled expects UTF-8.
    fs::write(state.join("blobs").join(OsString::from_vec(b"\xff".to_vec())), "").unwrap();
    let server = Server::start_again(state, MINUTE);
    assert_eq!(server.status("/ok"), 200);
    assert!(server.health().contains("moved the folder aside to"), "{}", server.health());
    assert!(server.log().contains("moved it aside"), "{}", server.log());
    server.trip();
    server.flush();
    server.kill();
    assert_eq!(Server::start_again(state, MINUTE).status("/ok"), 503);
    let prefix = format!("{}.corrupt-", state.file_name().unwrap().to_string_lossy());
    let aside: Vec<_> = fs::read_dir(state.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    fs::remove_dir_all(&aside[0]).unwrap();
}

/// sled reads a truncated or overwritten log up to the damage without an error. So there is no
/// warning, and the breaker starts with what is left.
#[test]
fn a_damaged_log_opens_and_is_written_again() {
    for share in [2, usize::MAX] {
        let folder = tripped();
        let file = folder.path().join("db");
        let mut log = fs::read(&file).unwrap();
        let kept = log.len() / share;
        log[kept..].fill(0xff);
        fs::write(&file, log).unwrap();
        let server = Server::start_again(folder.path(), MINUTE);
        assert_eq!(server.health(), "Healthy");
        if server.state() == "closed" {
            // Some consecutive failures may be left, so fewer are needed to trip.
            for _ in 0..5 {
                server.status("/fail");
            }
        }
        assert_eq!(server.status("/ok"), 503);
        server.flush();
        server.kill();
        assert_eq!(Server::start_again(folder.path(), MINUTE).status("/ok"), 503);
    }
}

#[test]
fn a_locked_folder_causes_a_warning_and_is_taken_over_once_released() {
    let folder = tripped();
    let holder = SledStore::open(folder.path()).unwrap();
    assert!(holder.load(KEY).unwrap().is_some());
    let server = Server::start(folder.path(), MINUTE);
    assert_eq!(server.status("/ok"), 200);
    assert!(server.health().contains("held by another process"), "{}", server.health());
    assert_eq!(
        server.log().matches("store degraded: continuing in memory").count(),
        1,
        "{}",
        server.log()
    );
    drop(holder);
    eventually("the folder is taken over", || server.health() == "Healthy");
    eventually("the stored state is restored", || server.state() == "open");
}

#[test]
fn a_missing_folder_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    let server = Server::start(&deep, MINUTE);
    server.trip();
    server.flush();
    server.kill();
    assert_eq!(Server::start_again(&deep, MINUTE).status("/ok"), 503);
}

#[test]
fn a_path_that_is_a_file_is_an_error_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("below")] {
        let error = SledStore::open(&path).unwrap_err().to_string();
        assert!(error.contains("is a file"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_causes_a_warning_and_heals() {
    use super::server::SERVER;
    use crate::support::child::{Role, Unprivileged, set_mode};

    let folder = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(folder.path()) else {
        println!("skipped: permissions apply to no process here");
        return;
    };
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o555);
    let role = Role::by(unprivileged.command(), SERVER);
    let server = Server::start_as(role, &state, MINUTE);
    assert_eq!(server.status("/ok"), 200);
    assert!(server.health().starts_with("Degraded"), "{}", server.health());
    server.trip();
    assert_eq!(server.status("/flush"), 507);
    set_mode(&state, 0o777);
    eventually("the store heals", || server.health() == "Healthy");
    server.flush();
    server.kill();
    let store = SledStore::open(&state).unwrap();
    let stored = store.load(KEY).unwrap().unwrap();
    assert!(String::from_utf8(stored).unwrap().contains(r#""state":"open""#));
}

/// sled opens no folder that it cannot write to, so a copy of it is read.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_restored_from_a_copy_that_is_removed_even_after_a_kill() {
    use std::os::unix::fs::MetadataExt as _;

    use super::server::SERVER;
    use crate::support::child::{Role, Unprivileged, set_mode};

    let folder = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(folder.path()) else {
        println!("skipped: permissions apply to no process here");
        return;
    };
    let (state, temporary) = (folder.path().join("state"), folder.path().join("temporary"));
    for folder in [&state, &temporary] {
        fs::create_dir(folder).unwrap();
        set_mode(folder, 0o777);
        unprivileged.give(folder);
    }
    let start = || {
        let role = Role::by(unprivileged.command(), SERVER).variable("TMPDIR", &temporary);
        Server::start_as(role, &state, 10 * MINUTE)
    };
    let server = start();
    eventually("the store is healthy", || server.health() == "Healthy");
    server.trip();
    server.flush();
    server.kill();
    let set_modes = |folder_mode: u32, file_mode: u32| {
        for entry in fs::read_dir(&state).unwrap() {
            let entry = entry.unwrap();
            let mode = if entry.path().is_dir() { folder_mode } else { file_mode };
            set_mode(&entry.path(), mode);
        }
        set_mode(&state, folder_mode);
    };
    let copies = || {
        let entries = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<Vec<_>>()
    };

    set_modes(0o555, 0o444);
    let server = start();
    eventually("the circuit is restored open", || server.status("/ok") == 503);
    assert_eq!(server.status("/flush"), 507);
    assert!(server.health().contains("make the folder writable"), "{}", server.health());
    let log = server.log();
    assert!(log.contains("a temporary copy answers reads"), "{log}");
    let left = copies();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::metadata(&left[0]).unwrap().mode() & 0o7777, 0o700);
    server.kill();
    assert_eq!(copies(), left, "a killed process leaves its copy");

    // The next process makes a copy of its own, and removes that one.
    let server = start();
    eventually("the circuit is restored open", || server.status("/ok") == 503);
    eventually("the abandoned copy is removed", || !left[0].exists());
    let left = copies();
    set_modes(0o755, 0o644);
    eventually("the store is healthy again", || server.health() == "Healthy");
    eventually("the copy is removed", || copies().is_empty());
    assert!(!left.is_empty(), "there was one");
    server.kill();

    // The next process makes no copy, and removes the abandoned one even so.
    set_modes(0o555, 0o444);
    let server = start();
    eventually("the circuit is restored open", || server.status("/ok") == 503);
    server.kill();
    assert_eq!(copies().len(), 1);
    set_modes(0o755, 0o644);
    let server = start();
    eventually("the store is healthy", || server.health() == "Healthy");
    eventually("the abandoned copy is removed", || copies().is_empty());
    server.kill();
}
