//! What is done to a circuit by hand.

use std::{sync::Arc, time::Duration};

use super::{
    effects::Effects,
    machine::{Machine, Phase},
};
use crate::{clock::Tick, event::Reason, manual::Remark, state::State};

/// What an operator asks for. States that are set by hand last for the given time, or until
/// another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    ForceOpen(Option<Duration>),
    Disable(Option<Duration>),
    MetricsOnly(Option<Duration>),
    Reset,
    Trip,
}

impl Machine {
    pub(super) fn command(
        &mut self,
        command: Command,
        remark: Option<Arc<Remark>>,
        effects: &mut Effects,
    ) {
        let until = |time: Option<Duration>| time.map_or(Tick::NEVER, |time| self.now.after(time));
        let phase = match command {
            Command::Reset => {
                self.close_at_once(Reason::Reset, self.now, effects);
                return self.add_remark(remark, effects);
            }
            Command::Trip => {
                if self.state() != State::Open {
                    self.open(Reason::Manual.into(), None, self.now, effects);
                    self.add_remark(remark, effects);
                }
                return;
            }
            Command::ForceOpen(time) => Phase::ForcedOpen { until: until(time) },
            Command::Disable(time) => Phase::Disabled { until: until(time) },
            Command::MetricsOnly(time) => Phase::MetricsOnly { until: until(time) },
        };
        let end = phase.manual_until();
        let is_same = (phase.state(), end) == (self.state(), self.phase.manual_until());
        let said = self.origin.as_ref().and_then(|origin| origin.remark.as_ref());
        if !is_same || (remark.is_some() && remark.as_ref() != said) {
            self.enter(phase, Reason::Manual.into(), self.now, effects);
            self.add_remark(remark, effects);
        }
    }

    /// Adds what was said about it to the last transition.
    fn add_remark(&mut self, remark: Option<Arc<Remark>>, effects: &mut Effects) {
        if let Some(step) = effects.steps.last_mut() {
            step.remark.clone_from(&remark);
        }
        if let Some(origin) = &mut self.origin {
            origin.remark = remark;
        }
    }
}
