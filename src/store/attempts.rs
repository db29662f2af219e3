//! Calls of a store one by one, where all at once fail for a reason that may lie in one of them.

use super::error::StoreError;

/// Calls of which each is made whether or not others fail, until one meets an outage.
#[derive(Default)]
pub(crate) struct Attempts {
    is_down: bool,
}

impl Attempts {
    /// Makes the call, unless an outage was met. Returns whether it was made and worked; `note`
    /// gets its error.
    pub(crate) fn works(
        &mut self,
        call: impl FnOnce() -> Result<(), StoreError>,
        note: impl FnOnce(StoreError),
    ) -> bool {
        if self.is_down {
            return false;
        }
        let Err(error) = call() else { return true };
        self.is_down = error.is_outage();
        note(error);
        false
    }
}
