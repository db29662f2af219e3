//! Saves that are larger than a segment of sled's log, with one value that is kept in many pieces.

use std::path::Path;

use tower_breaker::{StateStore, store::SaveEntry};

use super::Load;
use crate::support::{
    child::{RoleResult, argument, say},
    kind::Kind,
};

pub(crate) const LARGE: &str = "large saves";
/// A segment has 512 kB. These take up 800 kB.
const VALUES: u64 = 40;
const VALUE_BYTES: usize = 20_000;
/// sled would write a value of this size to a file of its own.
const LARGEST_BYTES: usize = 300_000;

/// A value of a save: its count, and bytes that follow from it.
fn value(count: u64, bytes: usize) -> Vec<u8> {
    let mut value = format!("{count} ").into_bytes();
    value.resize(bytes, b'a' + u8::try_from(count % 26).expect("it is below 26"));
    value
}

fn size_of(number: u64) -> usize {
    if number == 0 { LARGEST_BYTES } else { VALUE_BYTES }
}

/// The count of a value, which has to be complete.
fn count_of(number: u64, found: Option<&[u8]>) -> Result<u64, String> {
    let Some(found) = found else { return Ok(0) };
    let count = found.split(|byte| *byte == b' ').next().unwrap_or_default();
    let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
    let count = count.ok_or("a value without a count")?;
    let is_complete = found == value(count, size_of(number)).as_slice();
    if is_complete { Ok(count) } else { Err(format!("value {number} of save {count} is damaged")) }
}

fn counts(store: &dyn StateStore) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    (0..VALUES)
        .map(|number| Ok(count_of(number, store.load(&format!("value {number}"))?.as_deref())?))
        .collect()
}

/// The role: saves all values with the next count, and says each count once it is stored.
pub(crate) fn save() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let restored = counts(&*store)?;
    let texts: Vec<_> = restored.iter().map(u64::to_string).collect();
    say(&texts.join(" "));
    for count in restored.into_iter().max().unwrap_or(0) + 1.. {
        let entries: Vec<_> = (0..VALUES)
            .map(|number| SaveEntry::new(format!("value {number}"), value(count, size_of(number))))
            .collect();
        store.save_all(&entries)?;
        say(&count.to_string());
    }
    Ok(())
}

/// The counts that each value had at least, and that of the newest save.
pub(super) struct LargeSaves {
    acknowledged: Vec<u64>,
    newest: u64,
}

impl LargeSaves {
    pub(super) fn new() -> Self {
        Self { acknowledged: (0..VALUES).map(|_| 0).collect(), newest: 0 }
    }
}

impl Load for LargeSaves {
    const ROLE: &'static str = LARGE;

    fn restored(&mut self, line: &str) {
        let restored: Vec<u64> = line.split(' ').map(|count| count.parse().unwrap()).collect();
        assert_eq!(restored.len(), self.acknowledged.len());
        for (restored, acknowledged) in restored.iter().zip(&self.acknowledged) {
            // The kill may have come in the middle of the next save, which need not be atomic.
            let expected = *acknowledged..=self.newest + 1;
            assert!(expected.contains(restored), "{acknowledged} became {restored}");
        }
        self.newest = restored.iter().copied().max().unwrap_or(0);
        self.acknowledged = restored;
    }

    fn acknowledged(&mut self, line: &str) {
        self.newest = line.parse().unwrap();
        self.acknowledged.fill(self.newest);
    }
}
