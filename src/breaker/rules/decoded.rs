//! The windows of a snapshot, decoded without the breaker's lock.
//!
//! Where the breaker has made calls before its snapshot was read, these come after the saved ones.
//! They are copied in rounds, as for the rules of [another configuration](super::next).

use super::Rules;
use crate::{
    breaker::window::{CallWindow, PredecessorWindow, WORDS_IN_A_ROUND},
    clock::Tick,
    config::Config,
    snapshot::WindowSnapshot,
};

/// Rules whose count windows are those saved, to [adopt](Rules::adopt) or
/// [prepend](Rules::prepend). To be dropped without the lock.
pub(in crate::breaker) struct DecodedRules {
    rules: Rules,
    /// For each rate rule, what its window has taken from the one that goes on recording.
    taken: Vec<PredecessorWindow>,
}

impl DecodedRules {
    /// Decodes the windows for rules of this configuration.
    pub(in crate::breaker) fn new(config: &Config, saved: &[WindowSnapshot]) -> Self {
        // Time windows begin when the rules do.
        let mut rules = Rules::new(config, Tick::from_nanos(0));
        rules.with_saved(saved, |_, window, content| window.decode(content));
        let taken = rules.rates.iter().map(|_| PredecessorWindow::default()).collect();
        Self { rules, taken }
    }

    /// Copies what the rules in force have recorded since the last time, or a part of it. Returns
    /// how many calls that is in all, or 0 if they are so few that [`Rules::prepend`] can convert
    /// them. To be called with the lock.
    pub(in crate::breaker) fn copy(&mut self, own: &Rules) -> usize {
        let mut words = WORDS_IN_A_ROUND;
        let windows = self.rules.rates.iter().zip(&mut self.taken).zip(&own.rates);
        let left =
            windows.map(|((saved, taken), own)| taken.copy(&saved.window, &own.window, &mut words));
        left.sum()
    }

    /// Converts what was copied. To be called without the lock.
    pub(in crate::breaker) fn convert(&mut self) {
        for (rate, taken) in self.rules.rates.iter_mut().zip(&mut self.taken) {
            taken.convert(&mut rate.window);
        }
    }

    pub(super) fn window(&mut self, index: usize) -> Option<(&mut CallWindow, &PredecessorWindow)> {
        Some((&mut self.rules.rates.get_mut(index)?.window, self.taken.get(index)?))
    }
}
