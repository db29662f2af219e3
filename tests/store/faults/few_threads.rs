//! A process that can start a few threads and no more: enough for a writer, and too few for a
//! store with threads of its own.

use std::{
    borrow::Cow,
    fs,
    future::{Future as _, ready},
    io::{self, stdin},
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{Layer as _, Service as _, service_fn};
use tower_breaker::{
    Breaker, KeyedBreakers, KeyedCircuitBreakerLayer, MemoryStore, State, config::CallMetrics,
};

use crate::support::{
    child::{Role, RoleResult, Unprivileged, argument, say},
    kind::Kind,
    limits::{can_start_threads, limit_threads},
    wait::{MINUTE, holds_in_time},
};

pub(crate) const FEW_THREADS: &str = "process with few threads";

/// How many threads can be started besides the first: the writer and the watchdog need one each,
/// and sled's pool starts seven.
const ROOM: [u64; 6] = [0, 1, 2, 4, 7, 10];

/// The role: builds a breaker with room for a few threads, and saves it once there is more.
pub(crate) fn live() -> RoleResult {
    let mut lines = stdin().lines();
    // The limit counts all processes of the user.
    let first = (1..100_000).find(|most| limit_threads(*most).is_ok() && can_start_threads());
    limit_threads(first.ok_or("no limit lets a thread start")? + argument("ROOM").parse::<u64>()?)?;
    let store = Kind::named(&argument("KIND")).open(&PathBuf::from(argument("FOLDER")));
    let breaker = Breaker::builder("a").store(store).build()?;
    breaker.force_open();
    let rejects = breaker.try_acquire().is_err();
    // It fails, or succeeds. It does not hang.
    let flushed = match breaker.flush_blocking(Duration::from_millis(900)) {
        Ok(()) => "saved".to_owned(),
        Err(error) => error.to_string(),
    };
    say(&format!("{rejects} | {} | {flushed}", breaker.store_health()));
    lines.next();
    limit_threads(1000)?;
    let is_healthy = holds_in_time(|| breaker.store_health().is_healthy());
    say(&format!("{is_healthy} {}", breaker.flush_blocking(MINUTE).is_ok()));
    Ok(())
}

#[test]
fn a_store_works_once_its_own_threads_can_be_started() {
    let around = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else { return };
    for room in ROOM {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        unprivileged.give(&work);
        let role = Role::by(unprivileged.command(), FEW_THREADS).argument("KIND", "sled");
        let role = role.argument("ROOM", room.to_string());
        let mut process = role.argument("FOLDER", work.join("state")).start();
        let said = process.line().expect("the process builds its breaker");
        println!("room for {room}: {said}");
        assert!(said.starts_with("true | "), "{room}: {said}");
        assert!(!said.contains("does not answer"), "{room}: {said}");
        assert_eq!(process.ask(), "true true", "with room for {room} it does not heal: {said}");
        // The child may have to end before its folder can be opened.
        process.line();
        let store = Kind::Sled.open(&work.join("state"));
        let breaker = Breaker::builder("a").store(store).build().unwrap();
        let is_saved = holds_in_time(|| breaker.state() == State::ForcedOpen);
        assert!(is_saved, "what changed with room for {room} is not saved later");
    }
}

pub(crate) const QUIET: &str = "process whose calls succeed";

/// The role: has no threads when it builds a breaker. Later it could have some, but its calls
/// succeed, and need none. (Metrics need the timer.)
pub(crate) fn live_quietly() -> RoleResult {
    limit_threads(1)?;
    let store = Kind::File.open(&PathBuf::from(argument("FOLDER")));
    let builder = |name| Breaker::builder(name).call_metrics(CallMetrics::Off);
    let breaker = builder("a").store(store).build()?;
    let other = builder("other").build()?;
    let before = breaker.state();
    // The first one makes the counts newer than a snapshot's, and is to be saved.
    breaker.try_acquire()?.success();
    limit_threads(1000)?;
    for _ in 0..100 {
        breaker.try_acquire()?.success();
    }
    let _built = match argument("NEED").as_str() {
        "a circuit opens" => {
            other.trip();
            None
        }
        _ => Some(builder("built").store(MemoryStore::new()).build()?),
    };
    let is_restored = holds_in_time(|| breaker.state() == State::ForcedOpen);
    say(&format!("{before} {is_restored}"));
    Ok(())
}

pub(crate) const QUIET_GROUP: &str = "process with a group whose calls succeed";

/// The same with a group, whose calls succeed.
pub(crate) fn live_quietly_with_a_group() -> RoleResult {
    fn key<'a>(host: &'a &'static str) -> Option<Cow<'a, str>> {
        (!host.is_empty()).then(|| (*host).into())
    }
    limit_threads(1)?;
    let store = Kind::File.open(&PathBuf::from(argument("FOLDER")));
    let hosts = KeyedBreakers::builder("hosts").store(store).build()?;
    let inner = service_fn(|_: &'static str| ready(Ok::<_, io::Error>(())));
    let mut service = KeyedCircuitBreakerLayer::by_key(hosts.clone(), key).layer(inner);
    let mut call = |host| {
        let mut cx = Context::from_waker(Waker::noop());
        let is_ready = service.poll_ready(&mut cx).is_ready();
        is_ready && matches!(pin!(service.call(host)).poll(&mut cx), Poll::Ready(Ok(())))
    };
    let before = call("good");
    limit_threads(1000)?;
    let is_rejected = holds_in_time(|| call("good") && !call("bad"));
    // A key that is not called is restored with the next new ones.
    let mut numbers = 0..;
    let is_restored = holds_in_time(|| {
        numbers.next().map(|number: u32| hosts.get_or_create(&number.to_string()));
        hosts.get("other").is_some()
    });
    say(&format!("{before} {is_rejected} {is_restored}"));
    Ok(())
}

#[test]
fn calls_of_a_group_that_succeed_have_its_store_read() {
    let around = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let folder = work.join("state");
    let hosts = KeyedBreakers::builder("hosts").store(Kind::File.open(&folder)).build().unwrap();
    for host in ["bad", "other"] {
        let breaker = hosts.get_or_create(host).unwrap();
        breaker.force_open();
        breaker.flush_blocking(MINUTE).unwrap();
    }
    drop(hosts);
    unprivileged.give(&work);
    give_all(&unprivileged, &folder);
    let role = Role::by(unprivileged.command(), QUIET_GROUP);
    let mut process = role.argument("FOLDER", &folder).start();
    assert_eq!(process.line().as_deref(), Some("true true true"));
}

#[test]
fn the_next_need_of_a_timer_has_all_stores_read() {
    let around = tempfile::tempdir().unwrap();
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else { return };
    for need in ["a circuit opens", "a breaker is built"] {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        let folder = work.join("state");
        Breaker::builder("a").store(Kind::File.open(&folder)).build().unwrap().force_open();
        unprivileged.give(&work);
        give_all(&unprivileged, &folder);
        let role = Role::by(unprivileged.command(), QUIET).argument("NEED", need);
        let mut process = role.argument("FOLDER", &folder).start();
        assert_eq!(process.line().as_deref(), Some("closed true"), "{need}");
    }
}

/// Gives what is in a folder, and the folder.
fn give_all(unprivileged: &Unprivileged, folder: &Path) {
    unprivileged.give(folder);
    for entry in fs::read_dir(folder).unwrap() {
        unprivileged.give(&entry.unwrap().path());
    }
}
