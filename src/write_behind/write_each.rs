//! Several writes in one call of the store, or, if that fails, one by one.

use crate::store::{Attempts, StoreError};

/// Writes all items in one call. If that fails for a reason that may lie in one of them, writes
/// them one by one, and stops at an outage. Returns for each whether it was written.
pub(super) fn write_each<T>(
    items: &[T],
    write_all: impl FnOnce(&[T]) -> Result<(), StoreError>,
    write_one: impl Fn(&T) -> Result<(), StoreError>,
    mut note: impl FnMut(usize, StoreError),
) -> Vec<bool> {
    match write_all(items) {
        Ok(()) => return vec![true; items.len()],
        Err(error) if items.len() == 1 || error.is_outage() => {
            note(0, error);
            return vec![false; items.len()];
        }
        Err(_) => {}
    }
    let mut attempts = Attempts::default();
    let write = |(index, item)| attempts.works(|| write_one(item), |error| note(index, error));
    items.iter().enumerate().map(write).collect()
}
