//! What is known of a breaker when it is stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tower_breaker::{StateStore, snapshot::Snapshot};

use super::{
    histories::{Found, Loss, Made},
    pair::{Pair, closed, revived},
};

/// The expected state and history of a breaker.
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) wall: SystemTime,
    pub(crate) snapshot: Snapshot,
    pub(crate) made: Made,
}

impl Known {
    pub(crate) fn of(pair: &Pair) -> Self {
        Self {
            name: pair.name.clone(),
            wall: pair.clock.wall(),
            snapshot: pair.subject.snapshot(),
            made: pair.made(),
        }
    }

    pub(crate) fn check_history(&self, store: &dyn StateStore, loss: Loss) -> Result<(), String> {
        let found = Found::in_store(store, &self.name).map_err(|error| error.to_string())?;
        self.made.check(&found, loss)
    }

    pub(crate) fn is_in(&self, store: &dyn StateStore) -> bool {
        let stored = store.load(&format!("circuit_breaker:{}:state", self.name));
        let found = match stored {
            Ok(Some(stored)) => Snapshot::from_json(&stored).map(|it| revived(&it, self.wall)).ok(),
            // A breaker that never changed was never stored.
            Ok(None) => Some(closed(self.wall)),
            Err(_) => None,
        };
        found == Some(self.as_revived())
    }

    /// The snapshot after a restore, which has no more than a snapshot holds.
    pub(crate) fn as_revived(&self) -> Snapshot {
        revived(&self.snapshot, self.wall)
    }

    pub(crate) fn to_json(&self) -> Value {
        let wall = self.wall.duration_since(UNIX_EPOCH).unwrap().as_millis();
        let wall = u64::try_from(wall).unwrap();
        json!({
            "name": self.name, "wall": wall, "snapshot": self.snapshot, "made": self.made,
        })
    }

    pub(crate) fn from_json(value: &Value) -> Self {
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            wall: UNIX_EPOCH + Duration::from_millis(value["wall"].as_u64().unwrap()),
            snapshot: serde_json::from_value(value["snapshot"].clone()).unwrap(),
            made: serde_json::from_value(value["made"].clone()).unwrap(),
        }
    }
}
