//! A store without breakers: one key that counts up, and its history.

use std::path::Path;

use tower_breaker::store::{HistoryRecord, SaveEntry};

use super::Load;
use crate::support::{
    child::{RoleResult, argument, say},
    kind::Kind,
};

pub(crate) const RECORDS: &str = "records";
const KEY: &str = "count";
/// How many records the trims keep.
const KEPT: usize = 20;

/// The role: counts up, and says each count once it is stored.
pub(crate) fn write() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let history = store.history().expect("the store keeps histories");
    let mut count: u64 = match store.load(KEY)? {
        Some(bytes) => String::from_utf8(bytes)?.parse()?,
        None => 0,
    };
    say(&count.to_string());
    loop {
        count += 1;
        let record = HistoryRecord::new(count, format!(r#"{{"count":{count}}}"#));
        history.append(KEY, &[record])?;
        store.save(&SaveEntry::new(KEY, count.to_string()))?;
        if count.is_multiple_of(7) {
            history.trim(KEY, 0, KEPT)?;
        }
        say(&count.to_string());
    }
}

#[derive(Default)]
pub(super) struct Records {
    acknowledged: u64,
}

impl Load for Records {
    const ROLE: &'static str = RECORDS;

    fn restored(&mut self, line: &str) {
        let restored = line.parse().unwrap();
        // The kill may have come between a write and its acknowledgement.
        let expected = self.acknowledged..=self.acknowledged + 1;
        assert!(expected.contains(&restored), "{} became {restored}", self.acknowledged);
        self.acknowledged = restored;
    }

    fn acknowledged(&mut self, line: &str) {
        self.acknowledged = line.parse().unwrap();
    }

    fn inspect(&self, kind: Kind, folder: &Path) {
        let store = kind.open(folder);
        let history = store.history().expect("the store keeps histories");
        let records = history.load_newest(KEY, None, KEPT).unwrap();
        let newest = records.first().map_or(0, |record| record.id);
        let expected = self.acknowledged..=self.acknowledged + 1;
        assert!(expected.contains(&newest), "{} became {newest}", self.acknowledged);
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        let expected: Vec<_> = (1..=newest).rev().take(KEPT).collect();
        assert_eq!(ids, expected, "no record is missing");
    }
}
