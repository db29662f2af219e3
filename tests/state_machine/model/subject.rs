//! How an operation is applied to a subject: the model, the breaker, or both.

use tower_breaker::State;

use super::{
    plan::{ByHand, Ending, Op, Wait},
    settings::Settings,
};

/// The slot of calls that do not overlap with others.
const SEQUENTIAL: usize = usize::MAX;

pub(crate) trait Subject {
    /// A failed comparison.
    type Error;

    fn millis(&self, wait: Wait) -> u64;
    fn is_under_way(&self, slot: usize) -> bool;
    fn advance(&mut self, by: u64);
    fn acquire(&mut self, slot: usize) -> Result<(), Self::Error>;
    fn stream(&mut self, slot: usize, alive_after: u64) -> Result<(), Self::Error>;
    /// The body of a call that streams can end or fail, and nothing else.
    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>);
    fn cancel(&mut self, slot: usize);
    fn give_up(&mut self, slot: usize);
    fn panic(&mut self, slot: usize);
    fn set_by_hand(&mut self, state: State, time: Option<u64>);
    fn trip(&mut self);
    fn reset(&mut self);
    fn update(&mut self, settings: &Settings);
    fn restart(&mut self, after: u64, shift: i64);
    fn jump_wall(&mut self, by: i64);
}

/// Applies one operation; an update takes the next of `settings`.
pub(crate) fn apply<'a, S: Subject>(
    subject: &mut S,
    op: &Op,
    settings: &mut impl Iterator<Item = &'a Settings>,
) -> Result<(), S::Error> {
    match *op {
        Op::Call(ending, takes) => {
            subject.acquire(SEQUENTIAL)?;
            if subject.is_under_way(SEQUENTIAL) {
                subject.advance(subject.millis(takes));
                subject.finish(SEQUENTIAL, ending, None);
            }
        }
        Op::Acquire(slot) if !subject.is_under_way(slot) => subject.acquire(slot)?,
        Op::Stream(slot, alive_after) if !subject.is_under_way(slot) => {
            subject.stream(slot, subject.millis(alive_after))?;
        }
        Op::Finish(slot, ending) if subject.is_under_way(slot) => {
            subject.finish(slot, ending, None);
        }
        Op::Record(slot, ending, took) if subject.is_under_way(slot) => {
            subject.finish(slot, ending, Some(subject.millis(took)));
        }
        Op::Cancel(slot) if subject.is_under_way(slot) => subject.cancel(slot),
        Op::GiveUp(slot, after) if subject.is_under_way(slot) => {
            subject.advance(subject.millis(after));
            subject.give_up(slot);
        }
        Op::Panic(slot) if subject.is_under_way(slot) => subject.panic(slot),
        Op::Acquire(_)
        | Op::Stream(..)
        | Op::Finish(..)
        | Op::Record(..)
        | Op::Cancel(_)
        | Op::GiveUp(..)
        | Op::Panic(_) => {}
        Op::Advance(wait) => subject.advance(subject.millis(wait)),
        Op::ForceOpen => subject.set_by_hand(State::ForcedOpen, None),
        Op::Disable => subject.set_by_hand(State::Disabled, None),
        Op::MetricsOnly => subject.set_by_hand(State::MetricsOnly, None),
        Op::ForATime(by_hand, time) => {
            let state = match by_hand {
                ByHand::ForceOpen => State::ForcedOpen,
                ByHand::Disable => State::Disabled,
                ByHand::MetricsOnly => State::MetricsOnly,
            };
            subject.set_by_hand(state, Some(subject.millis(time)));
        }
        Op::Trip => subject.trip(),
        Op::Reset => subject.reset(),
        Op::Update => subject.update(settings.next().expect("an endless iterator")),
        Op::Restart { after, shift } => subject.restart(subject.millis(after), shift),
        Op::JumpWall(by) => subject.jump_wall(by),
    }
    Ok(())
}
