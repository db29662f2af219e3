//! Groups of breakers that come and go: those of keys.

use serde_json::Value;
use tokio::sync::broadcast::Receiver;

use crate::{event::Event, handle::Breaker};

/// A group, as this service sees it. It creates no breaker.
pub(super) trait Group: Send + Sync {
    fn name(&self) -> &str;

    /// In no particular order.
    fn breakers(&self) -> Vec<Breaker>;

    /// The breaker of this name, which is longer than that of the group, or the same.
    fn get(&self, name: &str) -> Option<Breaker>;

    fn subscribe(&self) -> Receiver<Event>;

    /// The counts of the group, as an object.
    fn stats(&self) -> Value;
}

#[cfg(feature = "keyed")]
impl Group for crate::registry::KeyedBreakers {
    fn name(&self) -> &str {
        self.name()
    }

    fn breakers(&self) -> Vec<Breaker> {
        self.breakers_and_shared()
    }

    fn get(&self, name: &str) -> Option<Breaker> {
        self.get_by_name(name)
    }

    fn subscribe(&self) -> Receiver<Event> {
        self.subscribe()
    }

    fn stats(&self) -> Value {
        let stats = self.stats();
        let open_limit = stats.open_limit.map(|limit| {
            serde_json::json!({
                "keys_seen": limit.keys_seen,
                "open": limit.open,
                "would_have_opened": limit.would_have_opened,
            })
        });
        serde_json::json!({
            "breakers": stats.breakers,
            "max_breakers": self.max_breakers(),
            "unrecorded_calls": stats.unrecorded_calls,
            "open_limit": open_limit,
        })
    }
}
