//! One cell, from the process before the fault to the drop of the last handle.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tower_breaker::{Breaker, State, StateStore, clock::ManualClock, store::StoreHealth};

use super::{
    cells::{Begins, Cell, Ends, Moment},
    fault::{Fault, Site, copy},
    histories::{Loss, Made},
    known::Known,
    pair::{BUSY, Pair, closed, under_traffic},
    server::ServerFault,
};
use crate::support::kind::Kind;
use crate::support::wait::{MINUTE, holds_in_time};

/// All handles together wait one second for a store that hangs.
const START: Duration = Duration::from_secs(7);
/// How soon counts and transitions are saved.
const SOON: [Duration; 2] = [Duration::from_millis(20), Duration::ZERO];
const LATE: Duration = Duration::from_secs(3600);

/// Waits until the newest state is stored. On a busy machine, a flush can fail at first.
pub(crate) fn is_flushed(breaker: &Breaker) -> bool {
    holds_in_time(|| breaker.flush_blocking(MINUTE).is_ok())
}

pub(crate) struct Play<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) work: PathBuf,
    pub(crate) site: Mutex<Site>,
    pub(crate) pairs: Vec<Mutex<Pair>>,
    pub(crate) problems: Vec<String>,
    pub(crate) said: Mutex<Vec<String>>,
    pub(crate) struck: SystemTime,
    pub(crate) begun: &'static str,
    pub(crate) flushed: Vec<Known>,
    pub(crate) newest: Vec<Known>,
    pub(crate) drop: Duration,
    /// The machine was so slow that the drop gave up on a store without a fault.
    pub(crate) too_slow: bool,
}

pub(crate) fn play(cell: &Cell, work: &Path, may_mount: bool) -> Value {
    let site = Site::new(cell.kind, cell.fault, work, may_mount);
    let earlier = earlier_life(&site);
    let mut play = Play {
        cell,
        work: work.to_owned(),
        site: Mutex::new(site),
        pairs: Vec::new(),
        problems: Vec::new(),
        said: Mutex::default(),
        struck: SystemTime::now(),
        begun: "",
        flushed: Vec::new(),
        newest: Vec::new(),
        drop: Duration::ZERO,
        too_slow: false,
    };
    play.start(&earlier);
    match cell.moment {
        Moment::Start | Moment::Run => play.run(),
        Moment::Stop | Moment::StopBriefly => play.prepare_to_stop(),
    }
    play.stop()
}

fn names() -> impl Iterator<Item = String> {
    (0..BUSY).map(|number| format!("busy {number}")).chain(["quiet".to_owned()])
}

/// Runs a process before the fault, and returns what it stored.
fn earlier_life(site: &Site) -> Vec<Known> {
    let store = site.bare();
    let clocks = names().map(|_| ManualClock::new());
    let mut pairs: Vec<Pair> = names()
        .zip(clocks)
        .map(|(name, clock)| Pair::new(&name, &clock, Arc::clone(&store), SOON, Made::default()))
        .collect();
    for pair in &mut pairs[..BUSY] {
        (0..200).for_each(|_| pair.step());
        pair.settle();
        assert_eq!(pair.differences, [""; 0]);
    }
    pairs[BUSY].subject.force_open();
    for pair in &pairs {
        assert!(is_flushed(&pair.subject), "{}", pair.subject.store_health());
    }
    pairs.iter().map(Known::of).collect()
}

impl Play<'_> {
    pub(crate) fn site(&self) -> std::sync::MutexGuard<'_, Site> {
        self.site.lock().unwrap()
    }

    pub(crate) fn problem(&mut self, so: bool, what: impl FnOnce() -> String) {
        if !so {
            self.problems.push(what());
        }
    }

    fn start(&mut self, earlier: &[Known]) {
        let store = self.site().store();
        self.struck = SystemTime::now();
        if self.cell.moment == Moment::Start {
            self.site().strike(false);
        }
        let stops = matches!(self.cell.moment, Moment::Stop | Moment::StopBriefly);
        // Otherwise what happens after the fault would be tried before the drop.
        let intervals = if stops { [LATE, LATE] } else { SOON };
        let began = Instant::now();
        for known in earlier {
            let clock = ManualClock::starting_at(known.wall);
            let store = Arc::clone(&store);
            let pair = Pair::new(&known.name, &clock, store, intervals, known.made.clone());
            pair.is_certain_from_here();
            self.pairs.push(Mutex::new(pair));
        }
        let took = began.elapsed();
        self.problem(took < START, || format!("the start took {took:?}"));
        let mut restored = 0;
        for (place, known) in earlier.iter().enumerate() {
            let mut pair = self.pairs[place].lock().unwrap();
            if self.begins() == Begins::Restored {
                // On a busy machine, it is restored late.
                holds_in_time(|| pair.subject.snapshot() == known.as_revived());
            }
            let shown = pair.subject.snapshot();
            let closed = closed(known.wall);
            let is_restored = shown == known.as_revived();
            let (is_closed, name) = (shown == closed, pair.name.clone());
            if place < BUSY {
                pair.begin(is_restored);
            }
            drop(pair);
            restored += usize::from(is_restored);
            let as_expected = match self.begins() {
                Begins::Restored => is_restored,
                Begins::Closed | Begins::ClosedAtFirst => is_closed,
                Begins::Either => is_restored || is_closed,
            };
            self.problem(as_expected, || format!("{name} begins with {shown:?}"));
        }
        self.begun = match restored {
            0 => "closed",
            some if some == earlier.len() => "restored",
            _ => "some restored",
        };
    }

    /// A store that only pretends that its disk is full can be read.
    fn begins(&self) -> Begins {
        match self.cell.fault {
            Fault::FullDisk if !self.site().mounted => Begins::Restored,
            _ => self.cell.begins,
        }
    }

    /// Makes calls during the fault, ends it, and checks that everything heals.
    fn run(&mut self) {
        let enough = || self.cell.says.is_empty() || self.has_said();
        let mut seen = true;
        let struck = under_traffic(&self.pairs, |steps| {
            let mut struck = self.struck;
            if self.cell.moment == Moment::Run {
                pass(steps, 1500);
                // sled opens the database of the histories with the first record.
                self.wait_for_a_transition_to_be_stored();
                struck = SystemTime::now();
                self.site().strike(true);
            }
            seen = holds_in_time(|| {
                self.listen(struck);
                enough()
            });
            pass(steps, 2000);
            struck
        });
        self.struck = struck;
        self.problem(seen, || "its health does not say what is wrong".to_owned());
        self.settle();
        if self.cell.moment == Moment::Run {
            self.pairs.iter().for_each(|pair| pair.lock().unwrap().is_certain_from_here());
        }
        self.newest = self.known();
        let lasting = !matches!(
            self.cell.fault,
            Fault::Deleted
                | Fault::ErrsAtRandom
                | Fault::Slow
                | Fault::Truncated
                | Fault::BitsFlipped
                | Fault::Server(ServerFault::Emptied)
        );
        if lasting && !self.cell.says.is_empty() {
            self.waits_for_the_store();
        }
        self.site().lift();
        self.heal();
        under_traffic(&self.pairs, |steps| pass(steps, 500));
        self.settle();
        self.newest = self.known();
    }

    fn wait_for_a_transition_to_be_stored(&self) {
        let subject = self.pairs[0].lock().unwrap().subject.clone();
        assert!(is_flushed(&subject), "{}", subject.store_health());
    }

    /// Checks that every breaker with traffic stays pending as long as the fault lasts.
    fn waits_for_the_store(&mut self) {
        // On a full disk, redb may still find room for some of them within its file.
        let reuses_space = self.cell.kind == Kind::Redb && self.cell.fault.is_full_disk();
        let least = if reuses_space { 1 } else { BUSY };
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            let health = self.pairs[0].lock().unwrap().subject.store_health();
            let owes = matches!(health, StoreHealth::Degraded { pending, .. } if pending >= least);
            self.problem(owes, || format!("before the fault went, it says {health:?}"));
            if !owes {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn heal(&mut self) {
        let healed = holds_in_time(|| {
            self.pairs.iter().all(|pair| pair.lock().unwrap().subject.store_health().is_healthy())
        });
        let health = self.pairs[0].lock().unwrap().subject.store_health();
        self.problem(healed, || format!("it does not heal: {health}"));
        let expected = match self.cell.begins {
            Begins::Closed => State::Closed,
            Begins::Restored | Begins::ClosedAtFirst | Begins::Either => State::ForcedOpen,
        };
        let quiet = self.pairs[BUSY].lock().unwrap().subject.clone();
        let adopted = holds_in_time(|| quiet.state() == expected);
        self.problem(adopted, || {
            format!("the breaker without calls is {} in the end", quiet.state())
        });
        drop(quiet);
        self.newest[BUSY] = Known::of(&self.pairs[BUSY].lock().unwrap());
        if self.cell.ends == Ends::Newest {
            let stored = self.find_stored();
            self.problem(stored.is_ok(), || format!("when it has healed: {}", stored.unwrap_err()));
        }
    }

    pub(crate) fn find_all_in(&self, store: &dyn StateStore) -> Result<(), String> {
        for known in &self.newest {
            let problem = |problem| format!("{}: {problem}", known.name);
            if !known.is_in(store) {
                return Err(problem("the newest state is not stored".to_owned()));
            }
            known.check_history(store, Loss::of(self.cell)).map_err(problem)?;
        }
        Ok(())
    }

    /// Checks what a process that starts after a kill at this moment would find.
    fn find_stored(&self) -> Result<(), String> {
        let (mut tries, folder) = (0, self.site().folder.clone());
        let mut found = Ok(());
        holds_in_time(|| {
            tries += 1;
            if self.cell.kind == Kind::Redis {
                // A kill does not concern the server.
                found = self.find_all_in(&*self.cell.kind.open(&folder));
                return found.is_ok();
            }
            let image = self.work.join(format!("image {tries}"));
            found = copy(&folder, &image).map_err(|error| error.to_string());
            if found.is_ok() {
                found = self.find_all_in(&*self.cell.kind.open(&image));
                let _ = std::fs::remove_dir_all(&image);
            }
            found.is_ok()
        });
        found
    }

    pub(crate) fn settle(&self) {
        for pair in &self.pairs[..BUSY] {
            pair.lock().unwrap().settle();
        }
    }

    pub(crate) fn known(&self) -> Vec<Known> {
        self.pairs.iter().map(|pair| Known::of(&pair.lock().unwrap())).collect()
    }
}

/// Waits for this number of steps of the traffic.
pub(crate) fn pass(steps: &AtomicU64, more: u64) {
    let until = steps.load(SeqCst) + more;
    holds_in_time(|| steps.load(SeqCst) >= until);
}
