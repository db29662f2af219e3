//! Files that are damaged at random places before the start. Each time, the breakers start, calls
//! have the same results as without a store, and the new state and history are stored.
//!
//! What each store promises of the state that a breaker begins with:
//!
//! * sled finds damage by its checksums, and reads its log up to there: a state that was stored at
//!   some time, or none.
//! * Files have no checksums, and each breaker has its own: what its file says, if that is a
//!   snapshot; otherwise what is readable of an open or half-open state, or closed. The damaged
//!   bytes are kept aside. The other breakers notice nothing.
//! * redb finds damage by its checksums, and copies what it can read into a new file: the newest
//!   state, or closed; then the damaged file is kept aside.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tower_breaker::{
    MemoryStore, State, StateStore,
    clock::ManualClock,
    snapshot::{Snapshot, SnapshotError},
    store::{HistoryStore as _, SaveEntry, StoreHealth},
};

use super::{
    asides::{is_in_quarantine, redb_files},
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
        let read = Read::of(cell.kind, &site.folder, &around.join("image"));
        found.look(cell.kind, &site.folder, &rounds, &read);
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

/// What is in the damaged files of breakers.
#[derive(Default)]
struct Read {
    snapshots: Vec<Option<Vec<u8>>>,
}

impl Read {
    fn of(kind: Kind, folder: &Path, image: &Path) -> Self {
        if kind != Kind::File {
            return Self::default();
        }
        // A store takes notes in its folder, and this one must not.
        copy(folder, image).unwrap();
        let store = kind.open(image);
        let key = |number| format!("circuit_breaker:busy {number}:state");
        let snapshots = (0..BUSY).map(|number| store.load(&key(number)).unwrap()).collect();
        drop(store);
        fs::remove_dir_all(image).unwrap();
        Self { snapshots }
    }

    /// The bytes that are no snapshot of a breaker.
    fn unreadable(&self, number: usize) -> Option<&[u8]> {
        let bytes = self.snapshots.get(number)?.as_deref()?;
        let is_corrupt = matches!(Snapshot::from_json(bytes), Err(SnapshotError::Corrupt(_)));
        is_corrupt.then_some(bytes)
    }

    /// Whether a breaker in a file of its own may begin so.
    fn leads_to(&self, number: usize, shown: &Snapshot, wall: SystemTime) -> bool {
        let Some(bytes) = &self.snapshots[number] else { return *shown == closed(wall) };
        match Snapshot::from_json(bytes) {
            Ok(snapshot) => *shown == revived(&snapshot, wall),
            Err(SnapshotError::Corrupt(_)) => {
                let state = format!("\"{}\"", shown.state);
                let states = [State::Open, State::HalfOpen];
                let is_readable = String::from_utf8_lossy(bytes).contains(&state);
                *shown == closed(wall) || (states.contains(&shown.state) && is_readable)
            }
            Err(_) => *shown == closed(wall),
        }
    }
}

impl Found {
    fn look(&mut self, kind: Kind, folder: &Path, rounds: &Rounds, read: &Read) {
        let store = kind.open(folder);
        let before = self.newest;
        let mut pairs = Vec::new();
        for (number, newest) in rounds[rounds.len() - 1].iter().enumerate() {
            let clock = ManualClock::starting_at(newest.wall);
            let made = newest.made.clone();
            let mut pair = Pair::new(&newest.name, &clock, Arc::clone(&store), SOON, made);
            pair.is_certain_from_here();
            let earlier = rounds.iter().map(|round| &round[number]);
            let is_closed = self.sort(kind, &pair, newest, earlier);
            if kind == Kind::File && !read.leads_to(number, &pair.subject.snapshot(), newest.wall) {
                let shown = pair.subject.snapshot();
                self.problems.push(format!("{} begins otherwise: {shown:?}", pair.name));
            }
            pair.begin(!is_closed);
            pairs.push(pair);
        }
        drop(store);
        let are_newest = self.newest - before == BUSY;
        if kind == Kind::Redb && !are_newest && redb_files(folder) == 0 {
            self.problems.push("the damaged database is not kept aside".to_owned());
        }
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
        for (number, bytes) in
            (0..BUSY).filter_map(|number| Some((number, read.unreadable(number)?)))
        {
            if !is_in_quarantine(&*store, &format!("busy {number}"), bytes) {
                self.problems.push(format!("the bytes of busy {number} are not kept aside"));
            }
        }
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
            if kind != Kind::Sled {
                self.problems.push(format!("{} begins with an older state", pair.name));
            }
        } else if kind == Kind::File {
            // It was compared with its file.
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
