//! The breaker without the reference, for what has to be the same twice.

use std::convert::Infallible;

use tower_breaker::{State, snapshot::Snapshot};

use super::{
    driver::Driver,
    plan::{Ending, Plan, Wait},
    reference::Answer,
    settings::Settings,
    subject::{Subject, play},
};

/// What a run was seen to do.
pub(crate) struct Run {
    pub(crate) answers: Vec<Answer>,
    pub(crate) end: Snapshot,
}

/// What is done before an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    None,
    /// Cancels what is under way.
    Cancel,
    /// A new process from a snapshot, at the same moment.
    Restart,
}

/// Plays a plan. While time passes, the breaker is looked at after each of `looks`, in turn.
pub(crate) fn alone(plan: &Plan, looks: &[u64], pauses: &[Pause]) -> Run {
    play_on(Driver::new(&plan.settings), plan, looks, pauses)
}

/// Plays the operations of a plan on a breaker that has a past.
pub(crate) fn live_on(breaker: Driver, plan: &Plan) -> Run {
    play_on(breaker, plan, &[], &[])
}

fn play_on(breaker: Driver, plan: &Plan, looks: &[u64], pauses: &[Pause]) -> Run {
    let mut alone = Alone { breaker, looks: looks.to_vec(), answers: Vec::new() };
    let mut settings = plan.updates();
    for (number, op) in plan.ops.iter().enumerate() {
        match pauses.get(number) {
            Some(Pause::Cancel) => alone.breaker.cancel_all(),
            Some(Pause::Restart) => alone.breaker.restart(0),
            Some(Pause::None) | None => {}
        }
        let Ok(()) = play(&mut alone, op, &mut settings);
    }
    Run { answers: alone.answers, end: alone.breaker.snapshot() }
}

struct Alone {
    breaker: Driver,
    looks: Vec<u64>,
    answers: Vec<Answer>,
}

impl Alone {
    fn look(&self) {
        // A clone sees the same circuit.
        let breaker = self.breaker.handle();
        let _ = (breaker.state(), breaker.stats(), breaker.snapshot(), breaker.config());
    }
}

impl Subject for Alone {
    type Error = Infallible;

    fn millis(&self, wait: Wait) -> u64 {
        match wait {
            Wait::Millis(millis) => millis,
            Wait::Boundary(_) | Wait::Slow(_) => unreachable!("a plan that was made concrete"),
        }
    }

    fn is_under_way(&self, slot: usize) -> bool {
        self.breaker.is_under_way(slot)
    }

    fn advance(&mut self, mut by: u64) {
        while let Some(wait) = self.looks.pop() {
            self.look();
            let wait = wait.min(by);
            self.breaker.advance(wait);
            by -= wait;
            if by == 0 {
                self.look();
                return;
            }
        }
        self.breaker.advance(by);
    }

    fn ask(&mut self, slot: usize) -> Result<(), Infallible> {
        let answer = self.breaker.ask(slot);
        self.answers.push(answer);
        Ok(())
    }

    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>) {
        self.breaker.finish(slot, ending, took);
    }

    fn cancel(&mut self, slot: usize) {
        self.breaker.cancel(slot);
    }

    fn set_by_hand(&mut self, state: State) {
        self.breaker.set_by_hand(state);
    }

    fn reset(&mut self) {
        self.breaker.reset();
    }

    fn update(&mut self, settings: &Settings) {
        self.breaker.update(settings);
    }

    fn restart(&mut self, after: u64, shift: i64) {
        self.breaker.restart(i64::try_from(after).expect("a short time") + shift);
    }

    fn jump_wall(&mut self, by: i64) {
        self.breaker.jump_wall(by);
    }
}
