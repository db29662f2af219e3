//! What the fleet's thread does to the breakers that are shared.

use super::Cell;
use crate::{
    breaker::{effects::Effects, machine::Machine, notify::Observer},
    clock::Reading,
};

impl Cell {
    /// Works on the machine of the breaker with this observer, brought up to now. The closure also
    /// gets whether tasks wait for a call to be admitted.
    pub(crate) fn with_shared<T>(
        &'static self,
        observer: &dyn Observer,
        work: impl FnOnce(&mut Machine, &mut Effects, Reading, bool) -> T,
    ) -> Option<T> {
        self.with_core(|core| {
            if !core.is_owned_by(observer) {
                return None;
            }
            let has_waiters = core.has_waiters();
            let now = core.clock.reading();
            core.transact_at(now.tick, self.successes(), |machine, effects| {
                work(machine, effects, now, has_waiters)
            })
        })
    }
}
