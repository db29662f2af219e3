//! What the health of a store says during a cell.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tower_breaker::store::StoreHealth;

use super::play::Play;

/// By how much the time of a reason may lie before the fault.
const CLOCK_ERROR: Duration = Duration::from_millis(20);

impl Play<'_> {
    pub(crate) fn listen(&self, struck: SystemTime) {
        let health = self.pairs[0].lock().unwrap().subject.store_health();
        self.hear(&health, struck);
        let heard = Arc::clone(&self.pairs[0].lock().unwrap().heard);
        heard.lock().unwrap().iter().for_each(|health| self.hear(health, struck));
    }

    /// Records a reason, and marks one from before the fault.
    pub(crate) fn hear(&self, health: &StoreHealth, struck: SystemTime) {
        let StoreHealth::Degraded { since, reason, .. } = health else { return };
        let mut said = self.said.lock().unwrap();
        let early = struck.duration_since(*since).is_ok_and(|early| early > CLOCK_ERROR);
        let text = if early { format!("too early: {reason}") } else { reason.clone() };
        if !said.contains(&text) {
            said.push(text);
        }
    }

    pub(crate) fn has_said(&self) -> bool {
        let said = self.said.lock().unwrap();
        said.iter().any(|reason| {
            !reason.starts_with("too early")
                && self.cell.says.iter().any(|words| reason.contains(words))
        })
    }
}
