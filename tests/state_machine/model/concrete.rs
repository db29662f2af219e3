//! Plans whose times are plain milliseconds. The model says when something happens next; after
//! that, a run needs no model.

use std::convert::Infallible;

use tower_breaker::State;

use super::{
    plan::{Ending, Op, Plan, Wait},
    reference::{Model, Seen},
    settings::Settings,
    subject::{Subject, apply},
};

pub(crate) fn concrete(plan: &Plan) -> Plan {
    let mut guide = Guide(Model::new(plan.settings.clone()));
    let mut settings = plan.updates();
    let ops = plan.ops.iter().map(|op| {
        let fixed = |wait: Wait| Wait::Millis(guide.0.millis(wait));
        let op = match op.clone() {
            Op::Record(slot, ending, took) => Op::Record(slot, ending, fixed(took)),
            Op::Stream(slot, after) => Op::Stream(slot, fixed(after)),
            Op::GiveUp(slot, after) => Op::GiveUp(slot, fixed(after)),
            Op::ForATime(state, time) => Op::ForATime(state, fixed(time)),
            Op::Advance(wait) => Op::Advance(fixed(wait)),
            Op::Restart { after, shift } => Op::Restart { after: fixed(after), shift },
            Op::Call(ending, takes) => Op::Call(ending, fixed(takes)),
            other => other,
        };
        let Ok(()) = apply(&mut guide, &op, &mut settings);
        op
    });
    let ops = ops.collect();
    Plan { ops, ..plan.clone() }
}

/// The state after each operation of a plan.
pub(crate) fn states(plan: &Plan) -> Vec<State> {
    let mut guide = Guide(Model::new(plan.settings.clone()));
    let mut settings = plan.updates();
    let states = plan.ops.iter().map(|op| {
        let Ok(()) = apply(&mut guide, op, &mut settings);
        guide.0.state()
    });
    states.collect()
}

/// How often the circuit would have opened in `metrics_only`.
pub(crate) fn would_trips(plan: &Plan) -> u64 {
    let mut guide = Guide(Model::new(plan.settings.clone()));
    let mut settings = plan.updates();
    for op in &plan.ops {
        let Ok(()) = apply(&mut guide, op, &mut settings);
    }
    guide.0.would_trips()
}

/// The model without a breaker: it admits and trips wherever both are right.
struct Guide(Model);

const TRIPS: Seen = Seen { opened: true, would_have: true };

impl Subject for Guide {
    type Error = Infallible;

    fn millis(&self, wait: Wait) -> u64 {
        self.0.millis(wait)
    }

    fn is_under_way(&self, slot: usize) -> bool {
        self.0.is_under_way(slot)
    }

    fn advance(&mut self, by: u64) {
        self.0.advance(by);
    }

    fn acquire(&mut self, slot: usize) -> Result<(), Infallible> {
        self.0.acquire(slot, true);
        Ok(())
    }

    fn stream(&mut self, slot: usize, alive_after: u64) -> Result<(), Infallible> {
        self.0.stream(slot, alive_after, true);
        Ok(())
    }

    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>) {
        self.0.finish(slot, ending, took, TRIPS);
    }

    fn cancel(&mut self, slot: usize) {
        self.0.cancel(slot);
    }

    fn give_up(&mut self, slot: usize) {
        self.0.give_up(slot, TRIPS);
    }

    fn panic(&mut self, slot: usize) {
        self.0.panic(slot, TRIPS);
    }

    fn set_by_hand(&mut self, state: State, time: Option<u64>) {
        self.0.set_by_hand(state, time);
    }

    fn trip(&mut self) {
        self.0.trip();
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn update(&mut self, settings: &Settings) {
        self.0.update(settings.clone());
    }

    fn restart(&mut self, after: u64, shift: i64) {
        self.0.restart(i64::try_from(after).expect("a short time") + shift);
    }

    fn jump_wall(&mut self, _: i64) {}
}
