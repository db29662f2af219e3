//! The breakers of a group that its store knows.

use std::{sync::Arc, time::Instant};

use super::{slots::Insertion, table::Table};
use crate::{
    handle::Breaker,
    write_behind::{LONGEST_LOAD, NamesWanted},
};

impl Table {
    /// Creates the breakers that the store knows. If it cannot be read now, that is done later.
    pub(super) fn restore(self: &Arc<Self>) {
        if self.source.environment.store.is_none() {
            return;
        }
        let until = Instant::now() + LONGEST_LOAD;
        let names = self.names.clone();
        // The group may have been dropped meanwhile.
        let (table, group) = (Arc::downgrade(self), Arc::downgrade(self));
        let restored = Arc::downgrade(self);
        let wanted = NamesWanted {
            store: Box::new(move || group.upgrade()?.source.environment.store.clone()),
            belongs: Box::new(move |name| names.key_of(name).is_some()),
            limit: self.slots.max(),
        };
        let found = move |names: Vec<String>| {
            let insert = |name: &String| table.upgrade()?.insert_stored(name);
            let breakers: Vec<Breaker> = names.iter().filter_map(insert).collect();
            let deadline = Instant::now() + LONGEST_LOAD;
            for breaker in breakers {
                breaker.wait_for_restore(deadline.saturating_duration_since(Instant::now()));
            }
        };
        let done = move || {
            if let Some(table) = restored.upgrade() {
                table.set_lazy();
            }
        };
        // Until all are found, a key has a breaker from its first call on, which reads its own
        // snapshot.
        self.name_search.start(wanted, LONGEST_LOAD, found, done);
        if let Some(shared) = self.shared() {
            shared.wait_for_restore(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Creates the breaker of a stored name, unless its key has one.
    fn insert_stored(&self, name: &str) -> Option<Breaker> {
        let key = self.names.key_of(name)?;
        let key = self.hasher.hash(&key);
        let insertion = self.slots.insert_if_room(key, |config| self.make(key, config));
        let Insertion::New { made_with, .. } = insertion else { return None };
        Some(made_with.complete())
    }
}
