//! What the state machine asks of the sharing, without the feature `redis`: no breaker is shared.

use super::effects::Step;
use crate::clock::Tick;

#[derive(Debug)]
pub(super) struct Sharing;

#[expect(clippy::unused_self, reason = "the other implementation uses it")]
impl Sharing {
    pub(super) const fn none() -> Self {
        Self
    }

    pub(super) fn on_step(&mut self, _: &Step, _: u32, _: Option<Tick>) {}

    pub(super) fn on_counts(&mut self) {}

    pub(super) fn notify(&mut self) {}
}
