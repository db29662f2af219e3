//! One cell, from the process before the fault to the drop of the last handle.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tower_breaker::{
    Breaker, State, StateStore, clock::ManualClock, snapshot::Snapshot, store::StoreHealth,
};

use super::{
    cells::{Begins, Cell, Ends, Moment},
    fault::{Fault, Site, copy},
    histories::{Found, Loss, Made},
    pair::{BUSY, Pair, closed, revived, under_traffic},
};
use crate::support::kind::Kind;
use crate::support::wait::{MINUTE, holds_in_time};

/// All handles together wait one second for a store that hangs.
const START: Duration = Duration::from_secs(7);
const NEVER_SO_LONG: Duration = Duration::from_secs(3);
/// All last handles together wait one second for their store. The last retry within it is at 0.7 s.
const LAST_TRY: Duration = Duration::from_millis(600);
const DROP: Duration = Duration::from_secs(7);

/// By how much the time of a reason may lie before the fault.
const CLOCK_ERROR: Duration = Duration::from_millis(20);
/// How soon counts and transitions are saved.
const SOON: [Duration; 2] = [Duration::from_millis(20), Duration::ZERO];
const LATE: Duration = Duration::from_secs(3600);

/// Waits until the newest state is stored. On a busy machine, a flush can fail at first.
pub(crate) fn is_flushed(breaker: &Breaker) -> bool {
    holds_in_time(|| breaker.flush_blocking(MINUTE).is_ok())
}

/// The expected state and history of a breaker.
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) wall: SystemTime,
    pub(crate) snapshot: Snapshot,
    pub(crate) made: Made,
}

impl Known {
    pub(crate) fn of(pair: &Pair) -> Self {
        Self {
            name: pair.name.clone(),
            wall: pair.clock.wall(),
            snapshot: pair.subject.snapshot(),
            made: pair.made(),
        }
    }

    pub(crate) fn check_history(&self, store: &dyn StateStore, loss: Loss) -> Result<(), String> {
        let found = Found::in_store(store, &self.name).map_err(|error| error.to_string())?;
        self.made.check(&found, loss)
    }

    pub(crate) fn is_in(&self, store: &dyn StateStore) -> bool {
        let stored = store.load(&format!("circuit_breaker:{}:state", self.name));
        let found = match stored {
            Ok(Some(stored)) => Snapshot::from_json(&stored).map(|it| revived(&it, self.wall)).ok(),
            // A breaker that never changed was never stored.
            Ok(None) => Some(closed(self.wall)),
            Err(_) => None,
        };
        found == Some(self.as_revived())
    }

    /// The snapshot after a restore, which has no more than a snapshot holds.
    pub(crate) fn as_revived(&self) -> Snapshot {
        revived(&self.snapshot, self.wall)
    }

    fn to_json(&self) -> Value {
        let wall = self.wall.duration_since(UNIX_EPOCH).unwrap().as_millis();
        let wall = u64::try_from(wall).unwrap();
        json!({
            "name": self.name, "wall": wall, "snapshot": self.snapshot, "made": self.made,
        })
    }

    pub(crate) fn from_json(value: &Value) -> Self {
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            wall: UNIX_EPOCH + Duration::from_millis(value["wall"].as_u64().unwrap()),
            snapshot: serde_json::from_value(value["snapshot"].clone()).unwrap(),
            made: serde_json::from_value(value["made"].clone()).unwrap(),
        }
    }
}

struct Play<'a> {
    cell: &'a Cell,
    work: PathBuf,
    site: Mutex<Site>,
    pairs: Vec<Mutex<Pair>>,
    problems: Vec<String>,
    said: Mutex<Vec<String>>,
    struck: SystemTime,
    begun: &'static str,
    flushed: Vec<Known>,
    newest: Vec<Known>,
    drop: Duration,
    /// The machine was so slow that the drop gave up on a store without a fault.
    too_slow: bool,
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
    fn site(&self) -> std::sync::MutexGuard<'_, Site> {
        self.site.lock().unwrap()
    }

    fn problem(&mut self, so: bool, what: impl FnOnce() -> String) {
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

    fn find_all_in(&self, store: &dyn StateStore) -> Result<(), String> {
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

    fn settle(&self) {
        for pair in &self.pairs[..BUSY] {
            pair.lock().unwrap().settle();
        }
    }

    fn known(&self) -> Vec<Known> {
        self.pairs.iter().map(|pair| Known::of(&pair.lock().unwrap())).collect()
    }

    fn prepare_to_stop(&mut self) {
        under_traffic(&self.pairs, |steps| pass(steps, 1500));
        self.settle();
        for pair in &self.pairs[..BUSY / 2] {
            pair.lock().unwrap().reset();
        }
        for place in 0..self.pairs.len() {
            let subject = self.pairs[place].lock().unwrap().subject.clone();
            self.problem(is_flushed(&subject), || format!("before: {}", subject.store_health()));
        }
        self.flushed = self.known();
        self.struck = SystemTime::now();
        self.site().strike(true);
        for (number, pair) in self.pairs[..BUSY].iter().enumerate() {
            let mut pair = pair.lock().unwrap();
            pair.is_certain_from_here();
            // Half of them have counts to save, and half of them a transition.
            if number < BUSY / 2 {
                pair.count_one_failure();
            } else {
                pair.reset();
            }
        }
        self.newest = self.known();
    }

    fn stop(mut self) -> Value {
        let (stays, goes) =
            (self.cell.moment == Moment::Stop, self.cell.moment == Moment::StopBriefly);
        let totals = self.totals();
        let heard: Vec<_> =
            self.pairs.iter().map(|pair| Arc::clone(&pair.lock().unwrap().heard)).collect();
        let pairs = std::mem::take(&mut self.pairs);
        let began = Instant::now();
        (self.drop, self.too_slow) = std::thread::scope(|scope| {
            let passes = goes.then(|| {
                scope.spawn(|| {
                    std::thread::sleep(self.cell.fault.passes_after());
                    self.site().lift();
                    began.elapsed() > LAST_TRY && !self.is_awaited()
                })
            });
            drop(pairs);
            (began.elapsed(), passes.is_some_and(|passes| passes.join().unwrap()))
        });
        for health in heard.iter().flat_map(|heard| heard.lock().unwrap().clone()) {
            self.hear(&health, self.struck);
        }
        let took = self.drop;
        self.problem(took < DROP, || format!("the last handles took {took:?} to drop"));
        let hangs = |says: &str| says.contains("does not answer");
        let has_stalled = self.said.lock().unwrap().iter().any(|reason| hangs(reason));
        let may_stall = self.cell.says.iter().any(|says| hangs(says));
        self.too_slow |= (stays || goes) && has_stalled && !may_stall;
        let may_be_silent = self.cell.says.is_empty() || self.cell.ends == Ends::NewestOrFlushed;
        if stays || goes {
            let said = self.has_said();
            let heard = may_be_silent || said || self.too_slow;
            self.problem(heard, || "no listener received the reason".to_owned());
        }
        let look_in = self.leave(stays, goes);
        self.result(&totals, &look_in)
    }

    /// Whether last states are kept until the store answers.
    fn is_awaited(&self) -> bool {
        matches!(self.cell.fault, Fault::Hangs | Fault::Slow)
    }

    /// Prepares the folder for the check by another process, and returns its path.
    fn leave(&mut self, stays: bool, goes: bool) -> PathBuf {
        if self.is_awaited() && (stays || goes) && self.cell.ends == Ends::Newest {
            let store = self.site().opened();
            let stored = holds_in_time(|| self.find_all_in(&*store).is_ok());
            self.problem(stored, || "the last states are not stored".to_owned());
        }
        let (asides, damaged) = (self.site().asides(), self.cell.fault.is_damage());
        self.problem(damaged || asides.is_empty(), || format!("moved aside: {asides:?}"));
        let mut site = self.site();
        if stays && !self.cell.fault.lasts() {
            site.lift();
        }
        let moved = site.moved();
        if site.mounted {
            let after = self.work.join("after");
            let copied = holds_in_time(|| copy(&site.folder, &after).is_ok());
            assert!(copied, "the folder cannot be copied");
            return after;
        }
        if stays && moved.exists() { moved } else { site.folder.clone() }
    }

    fn listen(&self, struck: SystemTime) {
        let health = self.pairs[0].lock().unwrap().subject.store_health();
        self.hear(&health, struck);
        let heard = Arc::clone(&self.pairs[0].lock().unwrap().heard);
        heard.lock().unwrap().iter().for_each(|health| self.hear(health, struck));
    }

    /// Records a reason, and marks one from before the fault.
    fn hear(&self, health: &StoreHealth, struck: SystemTime) {
        let StoreHealth::Degraded { since, reason, .. } = health else { return };
        let mut said = self.said.lock().unwrap();
        let early = struck.duration_since(*since).is_ok_and(|early| early > CLOCK_ERROR);
        let text = if early { format!("too early: {reason}") } else { reason.clone() };
        if !said.contains(&text) {
            said.push(text);
        }
    }

    fn has_said(&self) -> bool {
        let said = self.said.lock().unwrap();
        said.iter().any(|reason| {
            !reason.starts_with("too early")
                && self.cell.says.iter().any(|words| reason.contains(words))
        })
    }

    fn totals(&mut self) -> Value {
        let (mut admitted, mut rejected, mut transitions) = (0, 0, 0);
        let mut longest = Duration::ZERO;
        for place in 0..self.pairs.len() {
            let pair = self.pairs[place].lock().unwrap();
            admitted += pair.tally.admitted;
            rejected += pair.tally.rejected;
            longest = longest.max(pair.tally.longest);
            transitions += pair.transitions();
            let differences: Vec<_> = pair.differences.iter().take(3).cloned().collect();
            drop(pair);
            self.problems.extend(differences);
        }
        self.problem(longest < NEVER_SO_LONG, || format!("a call took {longest:?}"));
        self.problem(admitted > 200 && transitions > 50, || {
            format!("only {admitted} calls and {transitions} transitions")
        });
        json!({ "admitted": admitted, "rejected": rejected, "transitions": transitions,
            "longest": format!("{:.1} ms", longest.as_secs_f64() * 1e3) })
    }

    fn result(self, totals: &Value, look_in: &Path) -> Value {
        let mut said = self.said.into_inner().unwrap();
        if self.cell.says.is_empty() {
            // None of these faults makes a store hang, but a busy disk can.
            said.retain(|reason| !reason.contains("does not answer"));
        }
        let mut problems = self.problems;
        let damaged = self.cell.fault.is_damage();
        if self.cell.says.is_empty() && !damaged && !said.is_empty() {
            problems.push(format!("without a fault, the health says {said:?}"));
        }
        let known = |known: &[Known]| known.iter().map(Known::to_json).collect::<Vec<_>>();
        json!({
            "problems": problems, "said": said, "begun": self.begun, "totals": totals,
            "drop": format!("{:.1} s", self.drop.as_secs_f64()),
            "mounted": self.site.into_inner().unwrap().mounted,
            "too_slow": self.too_slow, "look_in": look_in, "newest": known(&self.newest),
            "flushed": known(&self.flushed),
        })
    }
}

/// Waits for this number of steps of the traffic.
fn pass(steps: &AtomicU64, more: u64) {
    let until = steps.load(SeqCst) + more;
    holds_in_time(|| steps.load(SeqCst) >= until);
}
