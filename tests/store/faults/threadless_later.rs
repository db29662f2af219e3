//! A process that reaches the limit of its threads while its breakers run well. The threads that
//! there are go on. Once the last breaker of a store is dropped, its writer has ended, and another
//! one cannot be started until there can be threads again. The process is killed before that, or
//! after.

use std::{
    fs,
    io::stdin,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, Event, State};

use super::{play::is_flushed, processes::Played};
use crate::support::{
    child::{Process, Role, RoleResult, Unprivileged, argument, say},
    kind::Kind,
    limits::{can_start_threads, limit_threads},
    wait::{MINUTE, holds_in_time},
};

pub(crate) const LIMITED_LATER: &str = "process that is limited later";

/// A breaker that is half-open soon after it has opened, and how often it has been.
fn timed(store: &Arc<dyn tower_breaker::StateStore>) -> (Breaker, Arc<AtomicUsize>) {
    let seen = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&seen);
    let builder = Breaker::builder("timed").recovery_timeout(Duration::from_millis(50));
    let builder = builder.on_event(move |event| {
        let half_opens = matches!(event, Event::Transition(it) if it.to == State::HalfOpen);
        count.fetch_add(usize::from(half_opens), SeqCst);
    });
    (builder.store(Arc::clone(store)).build().unwrap(), seen)
}

/// Whether the end of the open time is noticed without a call.
fn is_noticed((breaker, seen): &(Breaker, Arc<AtomicUsize>)) -> bool {
    let before = seen.load(SeqCst);
    breaker.reset();
    breaker.trip();
    holds_in_time(|| seen.load(SeqCst) > before)
}

/// The threads of this process, by the first 15 characters of their names.
fn has_thread(name: &str) -> bool {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let paths = threads.map(|thread| thread.unwrap().path().join("comm"));
    // One that has just ended has no name.
    paths.filter_map(|path| fs::read_to_string(path).ok()).any(|found| found.trim_end() == name)
}

/// The role: saves, waits until the threads that end when they are idle have ended, and goes on
/// without more threads to be had.
pub(crate) fn live() -> RoleResult {
    let mut lines = stdin().lines();
    let (folder, kind) = (PathBuf::from(argument("FOLDER")), Kind::named(&argument("KIND")));
    let build = |store: &Arc<_>| Breaker::builder("a").store(Arc::clone(store)).build();
    let store = kind.open(&folder);
    let (breaker, timed) = (build(&store)?, timed(&store));
    breaker.force_open();
    let is_saved = is_flushed(&breaker);
    let noticed = is_noticed(&timed);
    let is_idle = holds_in_time(|| !has_thread("breaker-watchdo"));
    say(&format!("{is_saved} {noticed} {is_idle} {}", breaker.store_health()));
    limit_threads(1)?;

    let can_start = can_start_threads();
    breaker.disable();
    let flushed = is_flushed(&breaker);
    say(&format!("{can_start} {flushed} {} {}", is_noticed(&timed), breaker.store_health()));

    let began = Instant::now();
    drop((store, breaker, timed));
    let took = began.elapsed().as_millis();
    let breaker = build(&kind.open(&folder))?;
    breaker.force_open();
    let rejects = breaker.try_acquire().is_err();
    let flushed =
        breaker.flush_blocking(MINUTE).map_or_else(|error| error.to_string(), |()| "saved".into());
    say(&format!("{rejects} {took} {} | {flushed}", breaker.store_health()));

    lines.next();
    limit_threads(1000)?;
    let is_healthy = holds_in_time(|| breaker.store_health().is_healthy());
    let flushed = is_flushed(&breaker);
    say(&format!("{is_healthy} {flushed}"));
    lines.next();
    Ok(())
}

/// Runs two such processes on stores: one is killed before there can be threads again.
pub(super) fn play(kind: Kind, unprivileged: &Unprivileged) -> Played {
    let mut played = Played::default();
    let dir = tempfile::tempdir().unwrap();
    let [early, late] = ["early", "late"].map(|name| {
        let work = dir.path().join(name);
        fs::create_dir(&work).unwrap();
        unprivileged.give(&work);
        let role = Role::by(unprivileged.command(), LIMITED_LATER).argument("KIND", kind.name());
        let folder = work.join("state");
        (role.argument("FOLDER", &folder).start(), folder)
    });
    let (mut process, folder) = early;
    if observe(&mut played, &mut process) {
        drop(process);
        check_saved(&mut played, kind, &folder, State::Disabled);
    }
    let (mut process, folder) = late;
    if observe(&mut played, &mut process) {
        played.check(process.ask() == "true true", "it does not heal");
        drop(process);
        check_saved(&mut played, kind, &folder, State::ForcedOpen);
    }
    played
}

/// Checks what the process sees until it can have threads again. `false`: it has ended.
fn observe(played: &mut Played, process: &mut Process) -> bool {
    let said = process.line().unwrap_or_default();
    played.check(said == "true true true healthy", &said);
    let said = process.line().unwrap_or_default();
    played.check(said == "false true true healthy", &said);
    let said = process.line().unwrap_or_default();
    let (health, flushed) = said.split_once(" | ").unwrap_or_default();
    let Some((took, health)) =
        health.strip_prefix("true ").and_then(|health| health.split_once(' '))
    else {
        played.check(false, &said);
        return false;
    };
    let is_bounded = took.parse::<u64>().is_ok_and(|took| took < 10_000);
    played.check(is_bounded, &format!("dropped in {took} ms"));
    for said in [health, flushed] {
        played.check(said.contains("writer thread cannot be started"), said);
    }
    played.check(health.starts_with("degraded, 1 unsaved"), health);
    health.clone_into(&mut played.said);
    true
}

/// Checks what a process finds that starts after the other one was killed.
fn check_saved(played: &mut Played, kind: Kind, folder: &Path, expected: State) {
    let breaker = Breaker::builder("a").store(kind.open(folder)).build().unwrap();
    let is_saved = holds_in_time(|| breaker.state() == expected);
    played.check(is_saved, &format!("{:?}, not {expected:?}", breaker.state()));
}
