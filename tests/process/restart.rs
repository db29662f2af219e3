//! Servers that are killed and restarted.

use std::{fs, io, path::Path, time::Duration};

use tower_breaker::{SledStore, StateStore};

use super::server::{Server, get_from};
use crate::support::wait::{MINUTE, eventually};

#[test]
fn a_killed_server_restarts_open_for_the_rest_of_the_open_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), MINUTE);
    assert_eq!(server.status("/ok"), 200);
    server.trip();
    server.flush();
    server.kill();

    let server = Server::start_again(folder.path(), MINUTE);
    let (status, head, _) = server.get("/ok");
    assert_eq!(status, 503);
    let wait: u64 =
        head.split("retry-after: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "Retry-After: {wait}");
    assert_eq!(server.calls(), 0);
    assert!(
        server.log().contains(r#"circuit breaker "upstream": closed -> open"#),
        "{}",
        server.log()
    );
}

/// Whether a process that starts after a kill at this moment would find the circuit open. Checked
/// in a copy of the folder.
fn is_open_on_disk(folder: &Path) -> io::Result<bool> {
    let copy = tempfile::tempdir()?;
    for name in ["conf", "db"] {
        fs::copy(folder.join(name), copy.path().join(name))?;
    }
    let store = SledStore::open(copy.path()).map_err(io::Error::other)?;
    let found = store.load("circuit_breaker:upstream:state").map_err(io::Error::other)?;
    Ok(found.is_some_and(|bytes| String::from_utf8_lossy(&bytes).contains(r#""state":"open""#)))
}

#[test]
fn a_transition_needs_no_flush_to_survive() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), MINUTE);
    server.trip();
    eventually("the transition is on the disk", || {
        is_open_on_disk(folder.path()).is_ok_and(|it| it)
    });
    server.kill();
    let server = Server::start_again(folder.path(), MINUTE);
    assert_eq!((server.status("/ok"), server.calls()), (503, 0));
}

#[test]
fn failures_that_did_not_trip_are_restored_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), MINUTE);
    for _ in 0..4 {
        assert_eq!(server.status("/fail"), 500);
    }
    server.flush();
    server.kill();
    let server = Server::start_again(folder.path(), MINUTE);
    assert_eq!(server.status("/fail"), 500);
    assert_eq!(server.state(), "open");
}

#[test]
fn after_the_open_time_only_one_probe_is_admitted() {
    let folder = tempfile::tempdir().unwrap();
    let recovery = Duration::from_secs(3);
    let server = Server::start(folder.path(), recovery);
    server.trip();
    server.flush();
    server.kill();
    std::thread::sleep(recovery);

    let server = Server::start_again(folder.path(), recovery);
    assert_eq!(server.state(), "half_open");
    let asked: Vec<u16> = std::thread::scope(|scope| {
        let ask = || get_from(server.address(), "/slow").0;
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (admitted, rejected): (Vec<u16>, Vec<u16>) =
        asked.into_iter().partition(|status| *status == 200);
    // A request that arrived after the end of the probe found the circuit closed.
    assert_eq!(admitted.len() + rejected.len(), 20);
    assert!(rejected.iter().all(|status| *status == 503));
    assert_eq!(server.calls() as usize, admitted.len());
    assert!(!rejected.is_empty(), "only the probe was admitted while it was under way");
    assert_eq!(server.state(), "closed");
}

#[test]
fn a_second_server_on_the_folder_runs_in_memory_and_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(folder.path(), MINUTE);
    let second = Server::start(folder.path(), MINUTE);
    assert_eq!(second.status("/ok"), 200);
    assert!(second.health().contains("held by another process"), "{}", second.health());
    assert!(second.log().contains("WARN"), "{}", second.log());

    // The second server takes over the last state of the first, along with the folder.
    first.trip();
    first.flush();
    first.kill();
    eventually("the second server's store is healthy", || second.health() == "Healthy");
    eventually("the second server has the state of the first", || second.state() == "open");
    assert_eq!(second.status("/ok"), 503);
    second.kill();
    assert_eq!(Server::start_again(folder.path(), MINUTE).status("/ok"), 503);
}

#[test]
fn a_second_server_that_tripped_itself_stores_its_own_state() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(folder.path(), MINUTE);
    first.flush();
    let second = Server::start(folder.path(), MINUTE);
    second.trip();
    assert_eq!(second.status("/flush"), 507);
    first.kill();
    eventually("the second server's store is healthy", || second.health() == "Healthy");
    second.flush();
    second.kill();
    assert_eq!(Server::start_again(folder.path(), MINUTE).status("/ok"), 503);
}
