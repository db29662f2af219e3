//! The rules of another configuration, which continue where the present ones end.
//!
//! To convert a window of a million calls to another size takes milliseconds. That is done without
//! the breaker's lock, from a copy, while calls go on being recorded. The copy is made in rounds,
//! each of a bounded number of words; what was recorded meanwhile follows in further rounds, and
//! the last of it with the lock. So nothing is left out, and the lock is held for some microseconds
//! at a time. A window that keeps its size changes its owner.

use super::Rules;
use crate::{
    breaker::window::{CallWindow, SuccessorWindow, WORDS_IN_A_ROUND},
    clock::Tick,
    config::Config,
};

/// Rules that are to replace others.
pub(in crate::breaker) struct NextRules {
    rules: Rules,
    /// For each rate rule, what it has taken from the window that it continues.
    windows: Vec<SuccessorWindow>,
}

impl NextRules {
    /// Makes the rules, with the memory that they need.
    pub(in crate::breaker) fn new(config: &Config) -> Self {
        // Time windows begin when the rules do.
        let rules = Rules::new(config, Tick::from_nanos(0));
        let windows = rules.rates.iter().map(|_| SuccessorWindow::default()).collect();
        Self { rules, windows }
    }

    /// Copies what there is to convert since the last time, or a part of it. Returns how many
    /// calls that is in all, or 0 if they are so few that [`replace`](Self::replace) can convert
    /// them. To be called with the lock.
    pub(in crate::breaker) fn copy(&mut self, old: &Rules) -> usize {
        let mut words = WORDS_IN_A_ROUND;
        let sources = sources(&self.rules, old);
        let rates = self.rules.rates.iter().zip(&mut self.windows).zip(sources);
        let left = rates.map(|((rate, window), source)| {
            let source = source.map(|index| &old.rates[index].window);
            window.copy(&rate.window, source, &mut words)
        });
        left.sum()
    }

    /// Converts what was copied. To be called without the lock.
    pub(in crate::breaker) fn convert(&mut self) {
        for (rate, window) in self.rules.rates.iter_mut().zip(&mut self.windows) {
            window.convert(&mut rate.window);
        }
    }

    /// Puts the rules in the place of others, and keeps these instead. To be called with the lock,
    /// and to be dropped without, because there may be much memory to give back.
    pub(in crate::breaker) fn replace(&mut self, old: &mut Rules, now: Tick) {
        let sources = sources(&self.rules, old);
        let rates = self.rules.rates.iter_mut().zip(&mut self.windows).zip(sources);
        for ((rate, window), source) in rates {
            rate.window.begin(now);
            match source {
                Some(index) => {
                    window.finish(&mut rate.window, &mut old.rates[index].window, now);
                }
                // The rule that it was to continue is gone: another update was faster.
                None if rate.window.counts().calls > 0 => rate.window.clear(now),
                None => {}
            }
        }
        self.rules.consecutive_failures = old.consecutive_failures;
        self.rules.has_recorded = old.has_recorded;
        self.rules.generation = old.generation.wrapping_add(1);
        std::mem::swap(&mut self.rules, old);
    }
}

/// For each rate rule, which of the old ones it continues: the first one on the same measure and
/// with the same kind of window that no earlier rule continues.
fn sources(rules: &Rules, old: &Rules) -> Vec<Option<usize>> {
    let mut is_left = vec![true; old.rates.len()];
    let source = |rate: &super::RateRule| {
        let fits = |index: &usize| {
            let other = &old.rates[*index];
            is_left[*index]
                && other.name() == rate.name()
                && CallWindow::are_alike(&other.window, &rate.window)
        };
        let index = (0..old.rates.len()).find(fits)?;
        is_left[index] = false;
        Some(index)
    };
    rules.rates.iter().map(source).collect()
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests;
