//! The list of the breakers on a store.

use std::sync::Arc;

use super::{
    super::{PersistSettings, entry::Entry, roll::Roll},
    fakes::Breaker,
};

fn entry(name: &str) -> Arc<Entry> {
    Arc::new(Entry::new(name, Breaker::new("closed"), &PersistSettings::default()))
}

fn names(roll: &Roll) -> Vec<&str> {
    roll.iter().map(|entry| entry.name()).collect()
}

#[test]
fn who_was_struck_off_is_not_taken_for_who_has_the_place_now() {
    let [a, b, c] = ["a", "b", "c"].map(entry);
    let mut roll = Roll::default();
    assert!(!roll.contains(&a) && !roll.remove(&a) && roll.is_empty());
    roll.insert(&a);
    roll.insert(&b);
    assert!(roll.remove(&a));
    assert!(!roll.remove(&a), "once is enough");
    assert_eq!((names(&roll), roll.len()), (vec!["b"], 1));
    roll.insert(&c);
    assert_eq!((names(&roll), roll.len()), (vec!["c", "b"], 2));
    assert!(roll.contains(&c) && !roll.contains(&a));
    assert!(!roll.remove(&a));
    assert!(roll.remove(&b) && roll.remove(&c) && roll.is_empty());
}

#[test]
fn its_parts_hold_everybody_once() {
    let mut roll = Roll::default();
    assert!(roll.part(0, 4).is_none());
    let entries: Vec<_> = (0..10).map(|number| entry(&number.to_string())).collect();
    for entry in &entries {
        roll.insert(entry);
    }
    roll.remove(&entries[5]);
    let parts = [0, 4, 8].map(|from| {
        let part = roll.part(from, 4).unwrap();
        part.map(|entry| entry.name().to_owned()).collect::<Vec<_>>().concat()
    });
    assert_eq!(parts, ["0123", "467", "89"]);
    assert!(roll.part(12, 4).is_none());
}
