//! How long drops take on a slow disk, and what is saved of breakers that are never dropped.

use std::{
    path::Path,
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, State, StateStore as _, flush_all};

use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
    skip, slow_disk,
};

pub(crate) const DROPPER: &str = "dropper";
pub(crate) const FORGETFUL: &str = "forgetful";

/// What a slow machine may add to a second.
const SLACK: Duration = Duration::from_secs(4);

fn build(folder: &str, n: usize) -> Breaker {
    let store = Kind::named(&argument("KIND")).open(Path::new(folder));
    build_on(&store, n)
}

fn build_on(store: &std::sync::Arc<dyn tower_breaker::StateStore>, n: usize) -> Breaker {
    // So that nothing is saved by itself.
    let builder = Breaker::builder(format!("breaker-{n}")).flush_interval(Duration::from_secs(600));
    builder.store(store.clone()).build().expect("a valid configuration")
}

fn time(what: &str, job: impl FnOnce()) {
    let began = Instant::now();
    job();
    say(&format!("{what}: {}", began.elapsed().as_millis()));
}

/// The role: drops breakers while syncs take long, and says how many milliseconds that takes.
pub(crate) fn drop_all() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let living = build_on(&store, 1000);
    let build_all = || (0..20).map(|n| build_on(&store, n)).collect::<Vec<_>>();

    let breakers = build_all();
    for breaker in &breakers {
        breaker.try_acquire()?.failure();
    }
    flush_all(Duration::from_secs(60))?;
    slow_disk::set(Duration::from_millis(50));
    time("unchanged", || drop(breakers));

    slow_disk::set(Duration::ZERO);
    let breakers = build_all();
    for breaker in &breakers {
        breaker.try_acquire()?.failure();
    }
    slow_disk::set(Duration::from_millis(50));
    time("changed", || drop(breakers));

    slow_disk::set(Duration::from_secs(10));
    living.try_acquire()?.failure();
    time("last breaker", || drop(living));
    time("store", || drop(store));
    slow_disk::set(Duration::ZERO);
    Ok(())
}

fn started(role: &str, kind: Kind, dir: &Path) -> Role {
    Role::new(role).argument("KIND", kind.name()).argument("FOLDER", dir.join("state"))
}

#[needs::programs("cc")]
#[test]
fn no_drop_waits_long_for_a_disk_that_is_slow() {
    let around = tempfile::tempdir().unwrap();
    let Some(library) = slow_disk::library(around.path()) else {
        return skip::missing("there is no C compiler (Debian: apt-get install gcc)");
    };
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let role = started(DROPPER, kind, dir.path()).variable("LD_PRELOAD", &library);
        let mut process = role.variable(slow_disk::DELAY, dir.path().join("delay")).start();
        let mut took = |what: &str| -> Duration {
            let line = process.line().unwrap_or_else(|| panic!("{}: {what}", kind.name()));
            println!("{}, {line} ms", kind.name());
            let (said, millis) = line.split_once(": ").unwrap();
            assert_eq!(said, what);
            Duration::from_millis(millis.parse().unwrap())
        };
        // Each by itself, and each with a sync: a second.
        assert!(took("unchanged") < Duration::from_millis(500));
        assert!(took("changed") < Duration::from_secs(1) + SLACK);
        // A sync takes ten seconds.
        assert!(took("last breaker") < Duration::from_secs(1) + SLACK);
        assert!(took("store") < Duration::from_secs(1) + SLACK);
    }
}

/// The role: has breakers in a `static` and in another thread, and saves them with one line.
pub(crate) fn forget() -> RoleResult {
    static STATIC: LazyLock<Breaker> = LazyLock::new(|| build(&argument("FOLDER"), 1));
    STATIC.try_acquire()?.failure();
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        let breaker = build(&format!("{}-2", argument("FOLDER")), 2);
        breaker.try_acquire().expect("closed").failure();
        let _ = ready.send(());
        loop {
            thread::park();
        }
    });
    is_ready.recv()?;
    say("changed");
    flush_all(Duration::from_secs(60))?;
    say("saved");
    // Without destructors, as at the end of `main`.
    std::process::exit(0)
}

#[test]
fn breakers_that_are_never_dropped_are_saved_with_one_line() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut process = started(FORGETFUL, kind, dir.path()).start();
        assert_eq!(process.line().as_deref(), Some("changed"));
        assert_eq!(process.line().as_deref(), Some("saved"), "{}", kind.name());
        process.line();
        for (folder, n) in [("state", 1), ("state-2", 2)] {
            let store = kind.open(&dir.path().join(folder));
            let key = format!("circuit_breaker:breaker-{n}:state");
            let saved = store.load(&key).unwrap();
            let saved = saved.unwrap_or_else(|| panic!("{}: {n} is saved", kind.name()));
            let snapshot = tower_breaker::snapshot::Snapshot::from_json(&saved).unwrap();
            assert_eq!((snapshot.state, snapshot.failure_count), (State::Closed, 1));
        }
    }
}
