//! The breaker beside the reference: what they say is compared after each operation.

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use tower_breaker::State;

use super::{
    driver::Driver,
    plan::{Ending, Plan, Wait},
    reference::Reference,
    settings::Settings,
    subject::{Subject, play},
    window::Counts,
};

pub(crate) fn against_reference(plan: &Plan) -> Result<(), TestCaseError> {
    let mut pair = Pair {
        breaker: Driver::new(&plan.settings),
        reference: Reference::new(plan.settings.clone()),
    };
    let mut settings = plan.updates();
    for (number, op) in plan.ops.iter().enumerate() {
        play(&mut pair, op, &mut settings)
            .and_then(|()| pair.compare())
            .map_err(|error| TestCaseError::fail(format!("operation {number}, {op:?}: {error}")))?;
    }
    Ok(())
}

struct Pair {
    breaker: Driver,
    reference: Reference,
}

impl Pair {
    fn compare(&self) -> Result<(), TestCaseError> {
        let stats = self.breaker.stats();
        let (is, meant) = (self.breaker.state(), self.reference.state());
        prop_assert_eq!(is, meant, "the state, and the reference's");
        let row = self.reference.row();
        prop_assert_eq!(stats.consecutive_failures(), row, "the row, and the reference's");
        let Some(possible) = self.reference.counts() else {
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
        self.reference.millis(wait)
    }

    fn is_under_way(&self, slot: usize) -> bool {
        self.breaker.is_under_way(slot)
    }

    fn advance(&mut self, by: u64) {
        self.breaker.advance(by);
        self.reference.advance(by);
    }

    fn ask(&mut self, slot: usize) -> Result<(), TestCaseError> {
        let seen = self.breaker.ask(slot);
        let expected = self.reference.ask(slot, seen.permitted);
        prop_assert_eq!(seen, expected, "the answer, and the reference's");
        Ok(())
    }

    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>) {
        self.breaker.finish(slot, ending, took);
        let tripped = self.breaker.state() == State::Open;
        self.reference.finish(slot, ending, took, tripped);
    }

    fn cancel(&mut self, slot: usize) {
        self.breaker.cancel(slot);
        self.reference.cancel(slot);
    }

    fn set_by_hand(&mut self, state: State) {
        self.breaker.set_by_hand(state);
        self.reference.set_by_hand(state);
    }

    fn reset(&mut self) {
        self.breaker.reset();
        self.reference.reset();
    }

    fn update(&mut self, settings: &Settings) {
        self.breaker.update(settings);
        self.reference.update(settings.clone());
    }

    fn restart(&mut self, after: u64, shift: i64) {
        // The description does not say how much of an open time a restart honours that is longer
        // than the settings of today, nor what a ramp does when the wall clock jumps.
        if self.reference.is_retuned() {
            return;
        }
        let shift = if self.reference.is_ramping() { 0 } else { shift };
        let by = i64::try_from(after).expect("a short time") + shift;
        self.breaker.restart(by);
        self.reference.restart(by);
    }

    fn jump_wall(&mut self, by: i64) {
        self.breaker.jump_wall(by);
    }
}
