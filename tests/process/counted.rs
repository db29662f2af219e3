//! Successes that are counted without the breaker's lock are saved too: without them, a streak of
//! failures that has long ended would come back after a kill.

use std::{path::Path, sync::Arc, time::Duration};

use tower_breaker::{Breaker, StateStore, Trip, Window, snapshot::Snapshot};

use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
    wait::holds_in_time,
};

pub(crate) const COUNTER: &str = "counter";
const NAME: &str = "counted";
const LIMIT: u32 = 5;

/// A breaker whose successes are counted without the lock while its window is not full of them.
fn build(store: Arc<dyn StateStore>) -> Breaker {
    let built = Breaker::builder(NAME)
        .trip_on(Trip::consecutive_failures(LIMIT))
        .trip_on(Trip::failure_rate(0.9, Window::calls(100)))
        .flush_interval(Duration::from_millis(20))
        .store(store)
        .build();
    built.unwrap()
}

fn make_calls(breaker: &Breaker, successes: u32, failures: u32) {
    (0..successes).for_each(|_| breaker.try_acquire().expect("closed").success());
    (0..failures).for_each(|_| breaker.try_acquire().expect("closed").failure());
}

/// The snapshot in the store: its failure streak, and the calls in its window.
fn saved(store: &dyn StateStore) -> Option<(u32, u64)> {
    let bytes = store.load(&format!("circuit_breaker:{NAME}:state")).ok()??;
    let snapshot = Snapshot::from_json(&bytes).ok()?;
    Some((snapshot.failure_count, snapshot.windows.first()?.calls))
}

/// The role: failures, a save, successes, and nothing more. It says when they are saved.
pub(crate) fn count() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let breaker = build(Arc::clone(&store));
    let is_saved = |expected| holds_in_time(|| saved(&*store) == Some(expected));
    let mut calls = 0;
    // Each length of time between a save and the successes, from none to several flush intervals.
    for pause in [0, 5, 15, 25, 60, 100] {
        // The last of these successes find a save due, or none, or one that is under way.
        for successes in [1, 2, 3] {
            make_calls(&breaker, 0, LIMIT - 1);
            breaker.flush_blocking(Duration::from_secs(60))?;
            std::thread::sleep(Duration::from_millis(pause));
            calls += u64::from(LIMIT - 1);
            // The later ones follow a save that found successes, or one that found none.
            for successes in [successes, 1, 1] {
                make_calls(&breaker, successes, 0);
                calls += u64::from(successes);
                if !is_saved((0, calls.min(100))) {
                    return Err(format!("{pause} ms, {successes}: {:?}", saved(&*store)).into());
                }
            }
        }
    }
    say("saved");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

#[test]
fn a_streak_that_successes_have_ended_does_not_come_back_after_a_kill() {
    for kind in Kind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Role::new(COUNTER)
            .argument("KIND", kind.name())
            .argument("FOLDER", folder.path())
            .start();
        assert_eq!(child.line().as_deref(), Some("saved"), "{kind:?}");
        child.kill();

        let breaker = build(kind.open(folder.path()));
        assert!(holds_in_time(|| breaker.stats().window_calls() > 0), "{kind:?}: restored");
        assert_eq!(breaker.stats().consecutive_failures(), 0, "{kind:?}");
        make_calls(&breaker, 0, LIMIT - 1);
        assert!(breaker.try_acquire().is_ok(), "{kind:?}");
    }
}
