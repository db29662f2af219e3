//! What the fleet's thread does to the breakers that are shared.

use super::Cell;
use crate::breaker::{effects::Effects, machine::Machine, notify::Observer, sharing::SharedView};

impl Cell {
    /// Changes the machine of the breaker with this observer, brought up to now.
    pub(crate) fn with_shared<T>(
        &'static self,
        observer: &dyn Observer,
        work: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        self.with_owned_core(observer, |core| core.transact(self.successes(), work))
    }

    /// What the fleet's thread sees of the breaker with this observer.
    pub(crate) fn shared_view(&'static self, observer: &dyn Observer) -> Option<SharedView> {
        let view = self.with_owned_core(observer, |core| {
            let (now, has_waiters) = (core.clock.reading(), core.has_waiters());
            core.transact_at(now.tick, self.successes(), |machine, _| {
                machine.shared_view(now, has_waiters)
            })
        });
        view.flatten()
    }
}
