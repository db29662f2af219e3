//! What an operator wants to know of a breaker, without the calls of its windows.

use std::{sync::Arc, time::SystemTime};

use super::machine::{Machine, Phase};
use crate::{
    clock::Reading, config::Config, event::Reason, manual::Remark, state::State, stats::Stats,
};

/// The state of a breaker at one moment. Unlike a snapshot, it takes the lock for an instant,
/// however large the windows are.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "a fleet shows a part of it"))]
pub(crate) struct BreakerStatus {
    pub(crate) state: State,
    /// When the state began. `None` if the breaker began with it.
    pub(crate) since: Option<SystemTime>,
    /// When the state ends by itself.
    pub(crate) until: Option<SystemTime>,
    /// Why the state began. `None` if the breaker began with it.
    pub(crate) reason: Option<Reason>,
    pub(crate) remark: Option<Arc<Remark>>,
    pub(crate) stats: Stats,
    pub(crate) config: Arc<Config>,
}

impl Machine {
    /// The status of a machine that was brought up to `now`.
    pub(crate) fn status(&self, now: Reading) -> BreakerStatus {
        let origin = self.origin.as_deref();
        let until = match &self.phase {
            Phase::Open { until, .. } => Some(*until),
            phase => phase.manual_until(),
        };
        BreakerStatus {
            state: self.state(),
            since: origin.map(|origin| now.wall_at(origin.since)),
            until: until.map(|until| now.wall_at(until)),
            reason: origin.and_then(|origin| origin.reason),
            remark: origin.and_then(|origin| origin.remark.clone()),
            stats: self.stats(),
            config: Arc::clone(self.config()),
        }
    }
}
