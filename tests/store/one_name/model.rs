//! Breakers of two names that are built, operated and dropped at random, against a simple model.

use proptest::prelude::*;
use tower_breaker::{
    Breaker, MemoryStore, State, StateStore, Trip, snapshot::Snapshot, store::FlushError,
};

use super::is_superseded;
use crate::support::wait::{MINUTE, holds_in_time};

/// What happens to the breakers of one name.
#[derive(Clone, Copy, Debug)]
enum Step {
    Build,
    /// Of these, the first is the oldest that lives; the number is taken modulo their count.
    Drop(usize),
    ForceOpen(usize),
    Disable(usize),
    Reset(usize),
    Fail(usize),
    Flush(usize),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        3 => Just(Step::Build),
        2 => (0..4_usize).prop_map(Step::Drop),
        1 => (0..4_usize).prop_map(Step::ForceOpen),
        1 => (0..4_usize).prop_map(Step::Disable),
        1 => (0..4_usize).prop_map(Step::Reset),
        4 => (0..4_usize).prop_map(Step::Fail),
        2 => (0..4_usize).prop_map(Step::Flush),
    ];
    proptest::collection::vec((0..2_usize, step), 1..60)
}

/// The simple model of a breaker.
#[derive(Clone, Debug, PartialEq)]
struct Modelled {
    state: State,
    failures: u32,
    /// The number of the newest transition that a call or an operator made.
    newest: usize,
}

/// One name in the model: the state of each breaker that lives, the oldest first, and what was
/// left by the last one that went.
#[derive(Default)]
struct Model {
    living: Vec<Modelled>,
    left: Option<Modelled>,
}

impl Model {
    fn build(&mut self) {
        let new = Modelled { state: State::Closed, failures: 0, newest: 0 };
        let before = self.living.last().cloned().or_else(|| self.left.clone());
        self.living.push(before.unwrap_or(new));
    }

    fn drop(&mut self, index: usize) {
        let was_owner = index + 1 == self.living.len();
        let gone = self.living.remove(index);
        if !was_owner {
            return;
        }
        match self.living.last_mut() {
            Some(heir) if heir.newest <= gone.newest => *heir = gone,
            Some(_) => {}
            None => self.left = Some(gone),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_holds_the_state_of_the_youngest(steps in steps()) {
        const NAMES: [&str; 2] = ["one", "other"];
        let store = MemoryStore::new();
        // Keeps the writer.
        let _other = Breaker::builder("keeper").store(store.clone()).build().unwrap();
        let stored = |name: usize| {
            let key = format!("circuit_breaker:{}:state", NAMES[name]);
            // A breaker that never changed is not saved: the next one begins like it anyway.
            let Some(bytes) = store.load(&key).unwrap() else { return (State::Closed, 0) };
            let snapshot = Snapshot::from_json(&bytes).unwrap();
            (snapshot.state, snapshot.failure_count)
        };
        let mut breakers: [Vec<Breaker>; 2] = Default::default();
        let mut models: [Model; 2] = Default::default();
        for (number, (name, step)) in (1..).zip(steps) {
            let (breakers, model) = (&mut breakers[name], &mut models[name]);
            let count = breakers.len();
            let mut set = |index: usize, state: State, operate: fn(&Breaker)| {
                if count > 0 {
                    operate(&breakers[index % count]);
                    let model = &mut model.living[index % count];
                    if model.state != state || state == State::Closed {
                        let failures = if state == State::Closed { 0 } else { model.failures };
                        *model = Modelled { state, failures, newest: number };
                    }
                }
            };
            match step {
                Step::Build => {
                    let builder = Breaker::builder(NAMES[name]).store(store.clone());
                    breakers.push(builder.trip_on(Trip::consecutive_failures(3)).build().unwrap());
                    model.build();
                }
                Step::ForceOpen(index) => set(index, State::ForcedOpen, Breaker::force_open),
                Step::Disable(index) => set(index, State::Disabled, Breaker::disable),
                Step::Reset(index) => set(index, State::Closed, Breaker::reset),
                _ if count == 0 => {}
                Step::Drop(index) => {
                    breakers.remove(index % count);
                    model.drop(index % count);
                    if breakers.is_empty() {
                        let left = model.left.clone().unwrap();
                        let left = (left.state, left.failures);
                        // Stores of other tests that hang use up the time of this drop, too.
                        holds_in_time(|| stored(name) == left);
                        prop_assert_eq!(stored(name), left);
                    }
                }
                Step::Fail(index) => {
                    if let Ok(permit) = breakers[index % count].try_acquire() {
                        permit.failure();
                    }
                    let model = &mut model.living[index % count];
                    if model.state == State::Closed {
                        model.failures += 1;
                        if model.failures == 3 {
                            (model.state, model.newest) = (State::Open, number);
                        }
                    }
                }
                Step::Flush(index) => {
                    let flushed = breakers[index % count].flush_blocking(MINUTE);
                    if index % count == count - 1 {
                        prop_assert_eq!(flushed, Ok(()));
                        let owner = model.living.last().unwrap();
                        prop_assert_eq!(stored(name), (owner.state, owner.failures));
                    } else {
                        prop_assert_eq!(flushed, Err(FlushError::Superseded));
                    }
                }
            }
            for (index, (breaker, model)) in breakers.iter().zip(&model.living).enumerate() {
                let snapshot = breaker.snapshot();
                prop_assert_eq!(
                    (snapshot.state, snapshot.failure_count),
                    (model.state, model.failures),
                    "breaker {} after step {}", index, number
                );
                prop_assert_eq!(is_superseded(breaker), index + 1 < breakers.len());
            }
        }
    }
}
