//! Which of several breakers of one name owns it.

use std::{sync::Arc, time::UNIX_EPOCH};

use super::{
    super::{
        SnapshotSource,
        entries::Slab,
        entry::Entry,
        keys,
        owners::{Joined, Owners},
    },
    fakes::Breaker,
};

/// Makes entries, each with an id of its own.
#[derive(Default)]
struct Entries(Slab<()>);

impl Entries {
    fn make(&mut self, name: &str) -> Arc<Entry> {
        let mut id = None;
        self.0.insert_with(|new| id = Some(new));
        let source = Breaker::new(name) as Arc<dyn SnapshotSource>;
        Arc::new(Entry::new(id.unwrap(), keys::snapshot(name), source))
    }
}

/// Adds an entry whose state is taken over at once.
fn add(owners: &mut Owners, entry: &Arc<Entry>) {
    owners.join(entry, || UNIX_EPOCH);
    owners.settle(entry);
}

fn is(found: Option<&Arc<Entry>>, expected: &Arc<Entry>) -> bool {
    found.is_some_and(|found| Arc::ptr_eq(found, expected))
}

#[test]
fn the_youngest_owns_the_name_and_takes_over_from_the_one_before() {
    let (mut owners, mut entries) = (Owners::default(), Entries::default());
    let [a, b, c, other] = ["x", "x", "x", "y"].map(|name| entries.make(name));
    assert!(matches!(owners.join(&a, || UNIX_EPOCH), Joined::Alone));
    assert!(matches!(owners.join(&other, || UNIX_EPOCH), Joined::Alone));
    assert!(!owners.has_others(&a) && owners.before(&a).is_none());
    let Joined::Superseded(superseded) = owners.join(&b, || UNIX_EPOCH) else { panic!() };
    assert!(Arc::ptr_eq(&superseded, &a) && is(owners.before(&b), &a));
    owners.settle(&b);
    assert!(owners.superseded_since(&a).is_some() && owners.superseded_since(&b).is_none());
    owners.join(&c, || UNIX_EPOCH);
    assert!(is(owners.owner(&a), &c) && is(owners.before(&c), &b));
    assert!(is(owners.owner(&other), &other));
    // It returns to the youngest that is left, which takes over from the one that goes.
    assert!(owners.remove(&a).is_none());
    owners.settle(&c);
    assert!(is(owners.remove(&c).as_ref(), &b));
    assert!(is(owners.before(&b), &c) && owners.superseded_since(&b).is_none());
    assert!(owners.remove(&b).is_none() && owners.remove(&b).is_none());
    assert!(owners.owner(&b).is_none() && is(owners.owner(&other), &other));
}

#[test]
fn a_state_that_was_not_taken_over_yet_is_taken_from_where_it_is() {
    let (mut owners, mut entries) = (Owners::default(), Entries::default());
    let [a, b, c, d] = ["x"; 4].map(|name| entries.make(name));
    add(&mut owners, &a);
    owners.join(&b, || UNIX_EPOCH);
    owners.join(&c, || UNIX_EPOCH);
    assert!(is(owners.before(&b), &a), "it continues in memory with that");
    assert!(is(owners.before(&c), &a));
    // Even if the breaker that has the state is gone.
    owners.remove(&a);
    owners.join(&d, || UNIX_EPOCH);
    assert!(is(owners.before(&d), &a));
    assert!(is(owners.remove(&d).as_ref(), &c));
    assert!(is(owners.before(&c), &a));
}

#[test]
fn a_last_state_that_waits_is_taken_over_and_is_older_than_what_comes_after() {
    let (mut owners, mut entries) = (Owners::default(), Entries::default());
    let [a, b, c, d] = ["x"; 4].map(|name| entries.make(name));
    let ids = |found: Vec<Arc<Entry>>| found.iter().map(|entry| entry.id).collect::<Vec<_>>();
    add(&mut owners, &a);
    assert!(owners.depart(&a).is_none());
    let Joined::After(before) = owners.join(&b, || UNIX_EPOCH) else { panic!() };
    assert!(Arc::ptr_eq(&before, &a));
    owners.settle(&b);
    add(&mut owners, &c);
    assert!(is(owners.depart(&c).as_ref(), &b), "it returns to one that lives");
    owners.settle(&b);
    assert!(is(owners.owner(&a), &b));
    assert_eq!(ids(owners.departed_before(&b)), [a.id, c.id]);
    assert_eq!(ids(owners.departed_before(&c)), [a.id]);
    assert!(ids(owners.departed_before(&a)).is_empty());
    owners.join(&d, || UNIX_EPOCH);
    assert!(is(owners.before(&d), &b));
    assert!(owners.depart(&b).is_none(), "it was not the owner");
    assert!(owners.remove(&a).is_none());
    assert_eq!(ids(owners.departed_before(&d)), [c.id, b.id]);
}

/// The lists hold the entries of each name, those that live and those that are gone.
#[test]
fn random_lives_agree_with_a_list() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut owners, mut entries) = (Owners::default(), Entries::default());
    let mut living: [Vec<Arc<Entry>>; 3] = Default::default();
    let mut departing: [Vec<Arc<Entry>>; 3] = Default::default();
    for _ in 0..20_000 {
        let name = random.usize(..3);
        let (living, departing) = (&mut living[name], &mut departing[name]);
        let some = |list: &Vec<Arc<Entry>>, random: &mut fastrand::Rng| {
            (!list.is_empty()).then(|| random.usize(..list.len()))
        };
        match random.usize(..8) {
            0..3 if living.len() < 5 => {
                let entry = entries.make(&name.to_string());
                let last = living.last().or(departing.last()).cloned();
                owners.join(&entry, || UNIX_EPOCH);
                assert_eq!(owners.before(&entry).map(|it| it.id), last.map(|last| last.id));
                owners.settle(&entry);
                assert_eq!(owners.has_departing(&entry), !departing.is_empty());
                living.push(entry);
            }
            3..6 => {
                let Some(index) = some(living, &mut random) else { continue };
                let was_owner = index + 1 == living.len();
                let entry = living.remove(index);
                let successor = if random.usize(..2) == 0 {
                    departing.push(Arc::clone(&entry));
                    owners.depart(&entry)
                } else {
                    owners.remove(&entry)
                };
                let expected = living.last().filter(|_| was_owner);
                assert_eq!(successor.as_ref().map(|it| it.id), expected.map(|it| it.id));
                if let Some(successor) = successor {
                    assert!(is(owners.before(&successor), &entry));
                    owners.settle(&successor);
                }
            }
            _ => {
                let Some(index) = some(departing, &mut random) else { continue };
                assert!(owners.remove(&departing.remove(index)).is_none());
            }
        }
        for entry in living.iter().chain(&*departing) {
            assert_eq!(owners.owner(entry).map(|it| it.id), living.last().map(|it| it.id));
        }
        for (index, entry) in living.iter().enumerate() {
            assert_eq!(owners.superseded_since(entry).is_some(), index + 1 < living.len());
            assert_eq!(owners.has_others(entry), living.len() > 1);
            assert_eq!(owners.departed_before(entry).len(), departing.len());
        }
    }
}
