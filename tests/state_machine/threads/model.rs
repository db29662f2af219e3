//! The state machine as far as the programs need it, one step after the other.
//!
//! A second description beside `model/reference`: the search through all orders of steps clones and
//! hashes a model millions of times, and the reference keeps each result with its time.

use std::collections::{HashSet, VecDeque};

use tower_breaker::{State, Stats};

use super::{THREADS, breakers::Kind};

/// Half of the calls, or a quarter, of a window; or a streak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    pub(super) size: u32,
    pub(super) minimum: u32,
    /// One in this many calls.
    pub(super) one_in: u32,
    pub(super) limit: u32,
}

/// What a thread did, and what it saw.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Acquire {
        admitted: bool,
    },
    Record {
        failed: bool,
    },
    Observe(Seen),
    /// What was found in the store, where everything before had been saved.
    Save(State, Seen),
    MetricsOnly,
    Reset,
    Update(Rules),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) calls: usize,
    pub(super) failures: usize,
    pub(super) streak: u32,
}

impl From<Stats> for Seen {
    fn from(stats: Stats) -> Self {
        Self {
            calls: usize::try_from(stats.window_calls()).unwrap(),
            failures: usize::try_from(stats.window_failures()).unwrap(),
            streak: stats.consecutive_failures(),
        }
    }
}

/// The description of the state machine, as far as these programs need it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Model {
    rules: Rules,
    /// Calls leave the window.
    shrinks: bool,
    pub(super) state: State,
    window: VecDeque<bool>,
    streak: u32,
    /// How many transitions there were.
    generation: u32,
    /// The generation that admitted the call of each thread.
    admitted: [Option<u32>; THREADS],
}

impl Model {
    pub(super) fn new(rules: Rules, kind: Kind) -> Self {
        let (window, admitted) = (VecDeque::new(), [None; THREADS]);
        let shrinks = !kind.timed;
        let state = State::Closed;
        Self { rules, shrinks, state, window, streak: 0, generation: 0, admitted }
    }

    pub(super) fn seen(&self) -> Seen {
        let failures = self.window.iter().filter(|failed| **failed).count();
        Seen { calls: self.window.len(), failures, streak: self.streak }
    }

    /// The state after a step, if it can have gone that way now.
    pub(super) fn after(mut self, thread: usize, step: Step) -> Option<Self> {
        match step {
            Step::Acquire { admitted } if admitted == (self.state == State::Open) => return None,
            Step::Acquire { admitted } => {
                self.admitted[thread] = admitted.then_some(self.generation);
            }
            Step::Record { failed } => self.record(thread, failed),
            Step::Observe(seen) if seen != self.seen() => return None,
            Step::Save(state, seen) if (state, seen) != (self.state, self.seen()) => return None,
            Step::Observe(_) | Step::Save(..) => {}
            Step::MetricsOnly if self.state == State::MetricsOnly => {}
            Step::MetricsOnly => self.enter(State::MetricsOnly),
            Step::Reset => {
                self.window.clear();
                self.streak = 0;
                self.enter(State::Closed);
            }
            Step::Update(rules) => {
                self.rules = rules;
                self.shrink();
            }
        }
        Some(self)
    }

    fn record(&mut self, thread: usize, failed: bool) {
        if self.admitted[thread].take() != Some(self.generation) {
            return;
        }
        self.streak = if failed { self.streak + 1 } else { 0 };
        self.window.push_back(failed);
        self.shrink();
        let Seen { calls, failures, streak } = self.seen();
        let Rules { size, minimum, one_in, limit } = self.rules;
        let rate_met = failures > 0
            && calls >= minimum.min(size) as usize
            && failures * one_in as usize >= calls;
        if self.state == State::Closed && (rate_met || streak >= limit) {
            self.enter(State::Open);
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    fn shrink(&mut self) {
        if !self.shrinks {
            return;
        }
        let surplus = self.window.len().saturating_sub(self.rules.size as usize);
        self.window.drain(..surplus);
    }
}

/// Every state that the steps of the threads can lead to.
pub(super) fn ends(start: Model, threads: &[Vec<Step>; THREADS]) -> HashSet<Model> {
    let mut reached = HashSet::from([([0; THREADS], start.clone())]);
    let mut left = vec![([0; THREADS], start)];
    let mut ends = HashSet::new();
    while let Some((done, model)) = left.pop() {
        if (0..THREADS).all(|thread| done[thread] == threads[thread].len()) {
            ends.insert(model);
            continue;
        }
        for thread in 0..THREADS {
            let Some(step) = threads[thread].get(done[thread]) else { continue };
            let Some(next) = model.clone().after(thread, *step) else { continue };
            let mut done = done;
            done[thread] += 1;
            if reached.insert((done, next.clone())) {
                left.push((done, next));
            }
        }
    }
    ends
}
