//! Room on the disk for large pages.
//!
//! sled writes a page of more than some 128 kB into a file of its own. If that fails because the
//! disk is full, sled waits forever, also once there is room again. So there must be room for it
//! before anything on such a page is changed. Only earlier versions have written such pages: see
//! [`pieces`](super::pieces).

use std::{
    io::{self, ErrorKind},
    ops::Bound::{Excluded, Included, Unbounded},
    path::Path,
};

use ::sled::{Db, Error as SledError, IVec};

use crate::store::{error::StoreError, path};

/// A disk with so much room has enough for every page.
const ENOUGH: u64 = 64 << 20;

/// How many values a page holds at most.
const VALUES_OF_A_PAGE: usize = 16;

/// The size from which on a value can make a page so large.
const LARGE: usize = (128 << 10) / VALUES_OF_A_PAGE;

/// How much room the disk has, if it may be too little for some page. A system that does not say
/// leaves it to sled to find out.
pub(super) fn scarce(folder: &Path) -> Option<u64> {
    #[cfg(test)]
    if crate::store::durable::faults::are_disks_full() {
        return Some(0);
    }
    fs2::available_space(folder).ok().filter(|free| *free < ENOUGH)
}

/// The bytes that a change of these keys writes at most into files of their own, if it may write
/// any.
pub(super) fn needed<'a>(
    db: &Db,
    changes: impl Iterator<Item = (&'a str, usize)>,
) -> Result<Option<u64>, SledError> {
    let mut changes: Vec<_> = changes.collect();
    changes.sort_unstable();
    let mut pages = Pages::default();
    let mut seen: Option<IVec> = None;
    for (key, size) in changes {
        pages.add(size);
        let key = key.as_bytes();
        // Whatever may be on the page of this key: each value once.
        let start = match &seen {
            Some(seen) if key <= seen.as_ref() => Excluded(seen.as_ref()),
            _ => {
                for value in db.range(..key).values().rev().take(VALUES_OF_A_PAGE) {
                    pages.add(value?.len());
                }
                Included(key)
            }
        };
        let mut newest = None;
        for entry in db.range::<&[u8], _>((start, Unbounded)).take(VALUES_OF_A_PAGE) {
            let (key, value) = entry?;
            pages.add(value.len());
            newest = Some(key);
        }
        seen = newest.or(seen);
    }
    Ok(pages.has_large.then_some(pages.bytes))
}

/// Says that the disk has too little room.
pub(super) fn too_little(folder: &Path, free: u64, needed: u64) -> StoreError {
    let reason = format!("No space left: {needed} bytes may be needed, and {free} are free");
    let error = io::Error::new(ErrorKind::StorageFull, reason);
    StoreError::Unavailable(path::describe(folder, &error).into())
}

/// The pages that may be written.
#[derive(Default)]
struct Pages {
    bytes: u64,
    has_large: bool,
}

impl Pages {
    fn add(&mut self, size: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        self.has_large |= size >= LARGE;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::engine, *};

    #[test]
    fn a_change_beside_a_large_value_needs_room_for_both() {
        let dir = tempfile::tempdir().unwrap();
        let db = engine::open(dir.path()).unwrap();
        let needed = |changes: &[(&str, usize)]| needed(&db, changes.iter().copied()).unwrap();
        for key in 0..100 {
            db.insert(format!("{key:03}"), vec![b'.'; 10]).unwrap();
        }
        assert_eq!(needed(&[]), None);
        assert_eq!(needed(&[("050", 100)]), None);
        assert_eq!(needed(&[("050", LARGE)]), Some(8192 + 32 * 10));
        db.insert("060", vec![b'.'; 100_000]).unwrap();
        assert_eq!(needed(&[("050", 0)]), Some(100_000 + 31 * 10), "also a removal");
        assert_eq!(needed(&[("090", 0), ("010", 0)]), None);
        // Each neighbour counts once.
        assert_eq!(needed(&[("059", 5), ("058", 5)]), Some(100_000 + 10 + 47 * 10));
    }

    #[test]
    fn a_disk_that_says_nothing_counts_as_large_enough() {
        assert_eq!(scarce(Path::new("/does/not/exist")), None);
    }
}
