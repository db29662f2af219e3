//! What the listeners of one breaker know of its store's health.

use std::sync::Mutex;

use super::health::HealthAt;
use crate::{health::StoreHealth, sync::std_lock};

#[derive(Default)]
pub(super) struct Announced(Mutex<LastAnnounced>);

/// What was last announced.
#[derive(Default)]
struct LastAnnounced {
    /// The epoch of the store's health.
    epoch: u64,
    /// Whether a thread is calling the listeners.
    is_calling: bool,
}

impl Announced {
    /// There is no listener that would have to hear of changes so far. `newest` is the epoch of the
    /// health as it is now.
    pub(super) fn skip(&self, newest: impl Fn() -> u64) {
        let mut epoch = newest();
        loop {
            let mut announced = std_lock(&self.0);
            announced.epoch = epoch.max(announced.epoch);
            drop(announced);
            // A change in between was announced while this had not been noted.
            let now = newest();
            if now == epoch {
                return;
            }
            epoch = now;
        }
    }

    /// Has `call` tell the listeners of a change, unless they know of a later one. `newest` reads
    /// the health as it is now.
    ///
    /// One thread at a time calls the listeners, and it looks again afterwards. So what they hear
    /// last is true, however slow they are.
    pub(super) fn announce(
        &self,
        change: &HealthAt,
        newest: impl Fn() -> HealthAt,
        call: impl Fn(&StoreHealth),
    ) {
        let mut next = None;
        loop {
            let HealthAt { epoch, health } = next.as_ref().unwrap_or(change);
            let mut announced = std_lock(&self.0);
            // The health changes from each epoch to the next.
            let is_newer = *epoch > announced.epoch && (epoch ^ announced.epoch) & 1 == 1;
            if announced.is_calling || !is_newer {
                return;
            }
            *announced = LastAnnounced { epoch: *epoch, is_calling: true };
            drop(announced);
            call(health);
            std_lock(&self.0).is_calling = false;
            next = Some(newest());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_has_changed_without_listeners_does_not_hide_what_comes_next() {
        let announced = Announced::default();
        // An outage has ended before its begin was noted.
        let epoch = Cell::new(0);
        announced.skip(|| {
            epoch.set(2.min(epoch.get() + 1));
            epoch.get()
        });
        let heard = Cell::new(0);
        let next = || HealthAt { epoch: 3, health: StoreHealth::Healthy };
        announced.announce(&next(), next, |_| heard.set(heard.get() + 1));
        assert_eq!(heard.get(), 1);
    }
}
