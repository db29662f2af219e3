//! Files that are damaged at random places before the start. Each time, the breakers start, calls
//! have the same results as without a store, and the new state and history are stored.

use std::{fs, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tower_breaker::{
    MemoryStore, State, StateStore,
    clock::ManualClock,
    store::{HistoryStore as _, SaveEntry, StoreHealth},
};

use super::{
    cells::{Cell, PLACES},
    fault::{Site, copy},
    histories::{Loss, Made},
    known::Known,
    pair::{BUSY, LONGEST_OPEN, Pair, closed, revived},
    play::is_flushed,
};
use crate::support::{kind::Kind, wait::holds_in_time};

const SOON: [Duration; 2] = [Duration::from_millis(20), Duration::ZERO];

/// The stored states of each round, the newest last.
type Rounds = Vec<Vec<Known>>;

#[derive(Default)]
struct Found {
    newest: usize,
    older: usize,
    closed: usize,
    /// Snapshots with changed digits, which are valid because files have no checksums.
    altered: usize,
    /// Snapshots whose version became a newer one.
    left_alone: usize,
    moved_aside: usize,
    problems: Vec<String>,
    said: Vec<String>,
    admitted: u64,
    rejected: u64,
    transitions: u64,
}

pub(crate) fn play(cell: &Cell, work: &Path) -> Value {
    let mut site = Site::new(cell.kind, cell.fault, work, false);
    let base = work.join("base");
    let rounds = fill(cell.kind, &base);
    let mut found = Found::default();
    for place in 0..PLACES {
        let around = work.join(format!("place {place}"));
        site.folder = around.join("state");
        copy(&base, &site.folder).unwrap();
        let what = site.damage();
        let problems = found.problems.len();
        found.look(cell.kind, &site.folder, &rounds);
        found.moved_aside += fs::read_dir(&around).unwrap().count() - 1;
        for problem in &mut found.problems[problems..] {
            *problem = format!("place {place}, {what}: {problem}");
        }
        fs::remove_dir_all(&around).unwrap();
    }
    found.problems.truncate(10);
    let Found { newest, older, closed, altered, left_alone, moved_aside, .. } = &found;
    let begun = format!(
        "{PLACES} places x {BUSY}: {newest} restored, {older} older, {closed} closed, \
         {altered} altered, {left_alone} left alone; {moved_aside} folders moved aside"
    );
    json!({
        "problems": found.problems, "said": found.said, "begun": begun,
        "totals": { "admitted": found.admitted, "rejected": found.rejected,
            "transitions": found.transitions, "longest": "-" },
        "drop": "-", "mounted": false, "too_slow": false, "look_in": base, "newest": [],
        "flushed": [],
    })
}

/// Saves five rounds of snapshots, each over the previous one.
fn fill(kind: Kind, base: &Path) -> Rounds {
    let store = kind.open(base);
    let memory = MemoryStore::new();
    let mut pairs: Vec<_> = (0..BUSY)
        .map(|number| {
            let (name, clock) = (format!("busy {number}"), ManualClock::new());
            Pair::new(&name, &clock, memory.clone(), SOON, Made::default())
        })
        .collect();
    let round = |pairs: &mut Vec<Pair>| {
        for pair in pairs.iter_mut() {
            pair.begin(true);
            (0..100).for_each(|_| pair.step());
            pair.settle();
        }
        let known: Vec<_> = pairs.iter().map(Known::of).collect();
        let values = known.iter().map(|known| {
            let json = known.snapshot.to_json().unwrap();
            SaveEntry::new(format!("circuit_breaker:{}:state", known.name), json)
        });
        store.save_all(&values.collect::<Vec<_>>()).unwrap();
        known
    };
    let rounds = (0..5).map(|_| round(&mut pairs)).collect();
    for pair in &pairs {
        assert!(is_flushed(&pair.subject));
        let key = format!("circuit_breaker:{}:history", pair.name);
        let mut records = memory.load_newest(&key, None, usize::MAX).unwrap();
        records.reverse();
        store.history().expect("the store keeps histories").append(&key, &records).unwrap();
    }
    rounds
}

impl Found {
    fn look(&mut self, kind: Kind, folder: &Path, rounds: &Rounds) {
        let store = kind.open(folder);
        let mut pairs = Vec::new();
        for (number, newest) in rounds[rounds.len() - 1].iter().enumerate() {
            let clock = ManualClock::starting_at(newest.wall);
            let made = newest.made.clone();
            let mut pair = Pair::new(&newest.name, &clock, Arc::clone(&store), SOON, made);
            pair.is_certain_from_here();
            let earlier = rounds.iter().map(|round| &round[number]);
            let is_closed = self.sort(kind, &pair, newest, earlier);
            pair.begin(!is_closed);
            pairs.push(pair);
        }
        drop(store);
        for pair in &mut pairs {
            (0..40).for_each(|_| pair.step());
            pair.settle();
            self.problems.append(&mut pair.differences);
            self.admitted += pair.tally.admitted;
            self.rejected += pair.tally.rejected;
            self.transitions += pair.transitions() as u64;
        }
        let mut kept = Vec::new();
        for pair in &pairs {
            let mut health = pair.subject.store_health();
            holds_in_time(|| {
                health = pair.subject.store_health();
                health.is_healthy() || is_of_newer_version(&health)
            });
            if is_of_newer_version(&health) && kind == Kind::File {
                self.left_alone += 1;
                continue;
            }
            if !health.is_healthy() || !is_flushed(&pair.subject) {
                self.problems.push(format!("{}: {health}", pair.name));
            }
            kept.push(Known::of(pair));
        }
        drop(pairs);
        let store = kind.open(folder);
        // All drops of this process wait a second together: perhaps it is not released yet.
        holds_in_time(|| store.load("any").is_ok());
        for known in &kept {
            if !known.is_in(&*store) {
                self.problems.push(format!("{} is not stored as it was", known.name));
            }
            if let Err(problem) = known.check_history(&*store, Loss::Damaged) {
                self.problems.push(format!("the history of {}: {problem}", known.name));
            }
        }
    }

    /// Classifies the state with which a breaker begins. Returns whether that is a new one.
    fn sort<'a>(
        &mut self,
        kind: Kind,
        pair: &Pair,
        newest: &Known,
        mut earlier: impl Iterator<Item = &'a Known>,
    ) -> bool {
        for health in pair.heard.lock().unwrap().iter() {
            if let StoreHealth::Degraded { reason, .. } = health {
                let reason = reason.rsplit('/').next().unwrap_or_default().to_owned();
                if !self.said.contains(&reason) {
                    self.said.push(reason);
                }
            }
        }
        let shown = pair.subject.snapshot();
        let closed = closed(newest.wall);
        let waits = pair.subject.try_acquire().err().and_then(|rejected| rejected.retry_after());
        if shown.state == State::Open && waits.is_none_or(|wait| wait > LONGEST_OPEN) {
            self.problems.push(format!("{} is stuck: {shown:?}", pair.name));
        }
        if shown == newest.as_revived() {
            self.newest += 1;
        } else if shown == closed {
            self.closed += 1;
        } else if earlier.any(|known| shown == revived(&known.snapshot, newest.wall)) {
            self.older += 1;
        } else if kind == Kind::File {
            self.altered += 1;
        } else {
            self.problems
                .push(format!("{} begins with what was never stored: {shown:?}", pair.name));
        }
        shown == closed
    }
}

fn is_of_newer_version(health: &StoreHealth) -> bool {
    health.to_string().contains("newer release")
}
