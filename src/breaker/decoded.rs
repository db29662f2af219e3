//! A snapshot whose windows are large, and are decoded without the breaker's lock.

use std::sync::Arc;

use super::{machine::Machine, rules::DecodedRules};
use crate::{
    config::Config,
    snapshot::{WindowContent, WindowSnapshot},
};

/// The windows of a snapshot, decoded for the rules of a configuration.
pub(super) struct Decoded {
    config: Arc<Config>,
    rules: DecodedRules,
}

impl Decoded {
    pub(super) fn new(config: Arc<Config>, windows: &[WindowSnapshot]) -> Self {
        Self { rules: DecodedRules::new(&config, windows), config }
    }

    /// The rules, unless another configuration is in force by now: its rules may be others, or in
    /// another order.
    pub(super) fn rules_of(&mut self, config: &Arc<Config>) -> Option<&mut DecodedRules> {
        Arc::ptr_eq(&self.config, config).then_some(&mut self.rules)
    }

    /// Copies what a machine has recorded that is to go on with these windows, as
    /// [`DecodedRules::copy`]. `Err`: another configuration is in force.
    pub(super) fn copy(&mut self, machine: &Machine) -> Result<usize, Arc<Config>> {
        let config = &machine.config;
        self.rules_of(config).map_or_else(
            || Err(Arc::clone(config)),
            |rules| Ok(if machine.has_transitioned() { 0 } else { rules.copy(&machine.rules) }),
        )
    }

    /// Converts what was copied. To be called without the lock.
    pub(super) fn convert(&mut self) {
        self.rules.convert();
    }
}

/// Windows of more calls, or of longer run lengths, are decoded without the breaker's lock.
const FEW: usize = 4096;

/// Whether there is more to decode than can be done with the breaker's lock.
pub(super) fn are_large(windows: &[WindowSnapshot]) -> bool {
    windows.iter().any(|window| match &window.content {
        WindowContent::Results(results) => window.calls > FEW as u64 || results.len() > FEW,
        WindowContent::Buckets(_) => false,
    })
}
