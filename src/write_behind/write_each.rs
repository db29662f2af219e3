//! Several writes in one call of the store, or, if that fails, one by one.

use super::client::is_outage;
use crate::store::StoreError;

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
        Err(error) if items.len() == 1 || is_outage(&error) => {
            note(0, error);
            return vec![false; items.len()];
        }
        Err(_) => {}
    }
    let mut is_down = false;
    let mut write = |(index, item)| {
        if is_down {
            return false;
        }
        let written = write_one(item);
        let is_written = written.is_ok();
        if let Err(error) = written {
            is_down = is_outage(&error);
            note(index, error);
        }
        is_written
    };
    items.iter().enumerate().map(&mut write).collect()
}
