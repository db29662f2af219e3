//! How an operation is played, on whatever plays it.

use tower_breaker::State;

use super::{
    plan::{Ending, Op, Wait},
    settings::Settings,
};

/// The slot of calls that do not overlap with others.
const ALONE: usize = usize::MAX;

pub(crate) trait Subject {
    /// What tells that a comparison failed.
    type Error;

    fn millis(&self, wait: Wait) -> u64;
    fn is_under_way(&self, slot: usize) -> bool;
    fn advance(&mut self, by: u64);
    fn ask(&mut self, slot: usize) -> Result<(), Self::Error>;
    fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>);
    fn cancel(&mut self, slot: usize);
    fn set_by_hand(&mut self, state: State);
    fn reset(&mut self);
    fn update(&mut self, settings: &Settings);
    fn restart(&mut self, after: u64, shift: i64);
    fn jump_wall(&mut self, by: i64);
}

/// Plays one operation; `settings` are those that an update takes next.
pub(crate) fn play<'a, S: Subject>(
    subject: &mut S,
    op: &Op,
    settings: &mut impl Iterator<Item = &'a Settings>,
) -> Result<(), S::Error> {
    match *op {
        Op::Call(ending, takes) => {
            subject.ask(ALONE)?;
            if subject.is_under_way(ALONE) {
                subject.advance(subject.millis(takes));
                subject.finish(ALONE, ending, None);
            }
        }
        Op::Acquire(slot) if !subject.is_under_way(slot) => subject.ask(slot)?,
        Op::Finish(slot, ending) if subject.is_under_way(slot) => {
            subject.finish(slot, ending, None);
        }
        Op::Report(slot, ending, took) if subject.is_under_way(slot) => {
            subject.finish(slot, ending, Some(subject.millis(took)));
        }
        Op::Cancel(slot) if subject.is_under_way(slot) => subject.cancel(slot),
        Op::Acquire(_) | Op::Finish(..) | Op::Report(..) | Op::Cancel(_) => {}
        Op::Advance(wait) => subject.advance(subject.millis(wait)),
        Op::ForceOpen => subject.set_by_hand(State::ForcedOpen),
        Op::Disable => subject.set_by_hand(State::Disabled),
        Op::MetricsOnly => subject.set_by_hand(State::MetricsOnly),
        Op::Reset => subject.reset(),
        Op::Update => subject.update(settings.next().expect("an endless row")),
        Op::Restart { after, shift } => subject.restart(subject.millis(after), shift),
        Op::JumpWall(by) => subject.jump_wall(by),
    }
    Ok(())
}
