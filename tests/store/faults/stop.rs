//! The end of a cell: the drop of its last handles, and what is left behind for another process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use super::{
    cells::{Ends, Moment},
    fault::{Fault, copy},
    known::Known,
    pair::{BUSY, under_traffic},
    play::{Play, is_flushed, pass},
};
use crate::support::wait::holds_in_time;

const NEVER_SO_LONG: Duration = Duration::from_secs(3);
/// All last handles together wait one second for their store. The last retry within it is at 0.7 s.
const LAST_TRY: Duration = Duration::from_millis(600);
const DROP: Duration = Duration::from_secs(7);

impl Play<'_> {
    pub(crate) fn prepare_to_stop(&mut self) {
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

    pub(crate) fn stop(mut self) -> Value {
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
