//! The breaker next to the model: their answers are compared after each operation.

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use tower_breaker::State;

use super::{
    driver::Driver,
    plan::{Ending, Plan, Wait},
    reference::{Model, Seen},
    settings::Settings,
    subject::{Subject, apply},
    window::Counts,
};

pub(crate) fn compare_with_model(plan: &Plan) -> Result<(), TestCaseError> {
    let mut pair =
        Pair { breaker: Driver::new(&plan.settings), model: Model::new(plan.settings.clone()) };
    let mut settings = plan.updates();
    for (number, op) in plan.ops.iter().enumerate() {
        apply(&mut pair, op, &mut settings)
            .and_then(|()| pair.compare())
            .map_err(|error| TestCaseError::fail(format!("operation {number}, {op:?}: {error}")))?;
    }
    Ok(())
}

struct Pair {
    breaker: Driver,
    model: Model,
}

impl Pair {
    /// What the breaker did when a call ended.
    fn seen(&mut self) -> Seen {
        let opened = self.breaker.state() == State::Open;
        Seen { opened, would_have: self.breaker.would_trips() > self.model.would_trips() }
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let would_have = (self.breaker.would_trips(), self.model.would_trips());
        prop_assert_eq!(would_have.0, would_have.1, "breaker and model: would have opened");
        let stats = self.breaker.stats();
        prop_assert_eq!(self.breaker.state(), self.model.state(), "breaker and model: state");
        let failures = self.model.consecutive_failures();
        prop_assert_eq!(stats.consecutive_failures(), failures, "breaker and model: failures");
        let Some(possible) = self.model.counts() else {
            prop_assert_eq!((stats.window_calls(), stats.window_failures()), (0, 0));
            return Ok(());
        };
        let (calls, failed, slow) =
            (stats.window_calls(), stats.window_failures(), stats.window_slow_calls());
        let fits = possible.contains(&Counts { calls, failed, slow });
        prop_assert!(fits, "{:?} is none of {:?}", stats, possible);
        Ok(())
    }
}

impl Subject for Pair {
    type Error = TestCaseError;

    fn millis(&self, wait: Wait) -> u64 {
        self.model.millis(wait)
    }

    fn is_under_way(&self, slot: usize) -> bool {
        self.breaker.is_under_way(slot)
    }

    fn advance(&mut self, by: u64) {
        self.breaker.advance(by);
        self.model.advance(by);
    }

    fn acquire(&mut self, slot: usize) -> Result<(), TestCaseError> {
        let seen = self.breaker.acquire(slot);
        let expected = self.model.acquire(slot, seen.permitted);
        prop_assert_eq!(seen, expected, "breaker and model: decision");
        Ok(())
    }

    fn stream(&mut self, slot: usize, alive_after: u64) -> Result<(), TestCaseError> {
        let seen = self.breaker.stream(slot, alive_after);
        let expected = self.model.stream(slot, alive_after, seen.permitted);
        prop_assert_eq!(seen, expected, "breaker and model: decision");
        Ok(())
    }

    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>) {
        self.breaker.finish(slot, ending, took);
        let seen = self.seen();
        self.model.finish(slot, ending, took, seen);
    }

    fn cancel(&mut self, slot: usize) {
        self.breaker.cancel(slot);
        self.model.cancel(slot);
    }

    fn give_up(&mut self, slot: usize) {
        self.breaker.give_up(slot);
        let seen = self.seen();
        self.model.give_up(slot, seen);
    }

    fn panic(&mut self, slot: usize) {
        self.breaker.panic(slot);
        let seen = self.seen();
        self.model.panic(slot, seen);
    }

    fn set_by_hand(&mut self, state: State, time: Option<u64>) {
        self.breaker.set_by_hand(state, time);
        self.model.set_by_hand(state, time);
    }

    fn trip(&mut self) {
        self.breaker.trip();
        self.model.trip();
    }

    fn reset(&mut self) {
        self.breaker.reset();
        self.model.reset();
    }

    fn update(&mut self, settings: &Settings) {
        self.breaker.update(settings);
        self.model.update(settings.clone());
    }

    fn restart(&mut self, after: u64, shift: i64) {
        // The description does not say how much of an open time a restart honours when an update
        // has shortened it, nor how a wall clock that jumps affects a ramp.
        if self.model.is_open_and_updated() {
            return;
        }
        let shift = if self.model.is_ramping() { 0 } else { shift };
        let by = i64::try_from(after).expect("a short time") + shift;
        self.breaker.restart(by);
        self.model.restart(by);
    }

    fn jump_wall(&mut self, by: i64) {
        self.breaker.jump_wall(by);
    }
}
