//! The breaker without the model, for two runs that must not differ.

use std::convert::Infallible;

use tower_breaker::{State, Stats, snapshot::Snapshot};

use super::{
    driver::Driver,
    plan::{Ending, Op, Plan, Wait},
    reference::Decision,
    settings::Settings,
    subject::{Subject, apply},
};

/// What a run showed.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) decisions: Vec<Decision>,
    /// After each operation, in a run that was asked for it.
    pub(crate) observed: Vec<(State, Stats)>,
    pub(crate) end: Snapshot,
}

/// When the breaker is observed. To observe a breaker must not change it.
#[derive(Debug, Clone, Default)]
pub(crate) enum Observe {
    #[default]
    AtTheEnd,
    AfterEachOperation,
    /// Before and after each of these times, in turn, while time passes.
    WhileTimePasses(Vec<u64>),
}

/// What happens before an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    None,
    /// Cancels all calls that are under way.
    Cancel,
    /// A new process from a snapshot, at the same moment.
    Restart,
}

pub(crate) fn run(plan: &Plan, observe: Observe, interruptions: &[Interruption]) -> Run {
    continue_with(Driver::new(&plan.settings), plan, observe, interruptions)
}

/// Applies the operations of a plan to a breaker that already has a state.
pub(crate) fn continue_with(
    breaker: Driver,
    plan: &Plan,
    observe: Observe,
    interruptions: &[Interruption],
) -> Run {
    let (times, each) = match observe {
        Observe::AtTheEnd => (Vec::new(), false),
        Observe::AfterEachOperation => (Vec::new(), true),
        Observe::WhileTimePasses(times) => (times, false),
    };
    let mut runner = Runner { breaker, times, decisions: Vec::new() };
    let (mut settings, mut observed) = (plan.updates(), Vec::new());
    let mut probes = ProbeTime::new(&plan.settings);
    for (number, op) in plan.ops.iter().enumerate() {
        match interruptions.get(number) {
            Some(Interruption::Cancel) if !probes.counts(&runner.breaker) => {
                runner.breaker.cancel_all();
            }
            Some(Interruption::Restart) if !probes.counts(&runner.breaker) => {
                runner.breaker.restart(0);
            }
            Some(_) | None => {}
        }
        let Ok(()) = apply(&mut runner, op, &mut settings);
        if !interruptions.is_empty() {
            probes.see(op, &runner.breaker);
        }
        if each {
            observed.push((runner.breaker.state(), runner.breaker.stats()));
        }
    }
    Run { decisions: runner.decisions, observed, end: runner.breaker.snapshot() }
}

/// The only state that a restart loses and a cancellation does not: the sum of the times of
/// probes that ended without a result. Where it may count, a run is not interrupted.
struct ProbeTime {
    is_limited: bool,
    /// A probe may have ended without a result since the circuit became half-open.
    wasted: bool,
}

impl ProbeTime {
    fn new(settings: &Settings) -> Self {
        Self { is_limited: settings.probe_timeout.is_some(), wasted: false }
    }

    fn see(&mut self, op: &Op, breaker: &Driver) {
        let without_result = match op {
            Op::Call(ending, _) | Op::Finish(_, ending) | Op::Record(_, ending, _) => {
                matches!(ending, Ending::Ignore)
            }
            Op::Cancel(_) | Op::GiveUp(..) => true,
            _ => false,
        };
        self.wasted = (self.wasted || without_result) && breaker.state() == State::HalfOpen;
    }

    /// Whether the sum is not zero, or would not be if all calls were cancelled.
    fn counts(&self, breaker: &Driver) -> bool {
        self.is_limited
            && breaker.state() == State::HalfOpen
            && (self.wasted || breaker.has_calls())
    }
}

struct Runner {
    breaker: Driver,
    times: Vec<u64>,
    decisions: Vec<Decision>,
}

impl Runner {
    fn observe(&self) {
        let breaker = self.breaker.handle();
        let _ = (breaker.state(), breaker.stats(), breaker.snapshot(), breaker.config());
    }
}

impl Subject for Runner {
    type Error = Infallible;

    fn millis(&self, wait: Wait) -> u64 {
        match wait {
            Wait::Millis(millis) => millis,
            _ => unreachable!("the plan is concrete"),
        }
    }

    fn is_under_way(&self, slot: usize) -> bool {
        self.breaker.is_under_way(slot)
    }

    fn advance(&mut self, mut by: u64) {
        while let Some(wait) = self.times.pop() {
            self.observe();
            let wait = wait.min(by);
            self.breaker.advance(wait);
            by -= wait;
            if by == 0 {
                self.observe();
                return;
            }
        }
        self.breaker.advance(by);
    }

    fn acquire(&mut self, slot: usize) -> Result<(), Infallible> {
        let decision = self.breaker.acquire(slot);
        self.decisions.push(decision);
        Ok(())
    }

    fn stream(&mut self, slot: usize, alive_after: u64) -> Result<(), Infallible> {
        let decision = self.breaker.stream(slot, alive_after);
        self.decisions.push(decision);
        Ok(())
    }

    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>) {
        self.breaker.finish(slot, ending, took);
    }

    fn cancel(&mut self, slot: usize) {
        self.breaker.cancel(slot);
    }

    fn give_up(&mut self, slot: usize) {
        self.breaker.give_up(slot);
    }

    fn panic(&mut self, slot: usize) {
        self.breaker.panic(slot);
    }

    fn set_by_hand(&mut self, state: State, time: Option<u64>) {
        self.breaker.set_by_hand(state, time);
    }

    fn trip(&mut self) {
        self.breaker.trip();
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
