//! The slab of entries.

use super::super::entries::{BLOCK, EntryId, Slab};

fn insert(slab: &mut Slab<&'static str>, value: &'static str) -> EntryId {
    let mut id = None;
    slab.insert_with(|new| {
        id = Some(new);
        value
    });
    id.unwrap()
}

fn values<'a>(slab: &Slab<&'a str>) -> Vec<&'a str> {
    slab.part(0, usize::MAX).into_iter().flatten().map(|(_, value)| *value).collect()
}

#[test]
fn an_id_outlives_its_value_without_matching_the_next_one() {
    let mut slab = Slab::default();
    assert!(slab.is_empty());
    let a = insert(&mut slab, "a");
    let b = insert(&mut slab, "b");
    assert_eq!(slab.remove(a), Some("a"));
    assert_eq!(slab.remove(a), None, "removed already");
    assert_eq!((values(&slab), slab.len()), (vec!["b"], 1));
    let c = insert(&mut slab, "c");
    assert_eq!((values(&slab), slab.len()), (vec!["c", "b"], 2));
    assert_eq!((slab.get(c), slab.get(a)), (Some(&"c"), None));
    assert_eq!(slab.get_mut(a), None);
    assert_eq!(slab.remove(a), None);
    assert_eq!((slab.remove(b), slab.remove(c)), (Some("b"), Some("c")));
    assert!(slab.is_empty());
}

#[test]
fn the_parts_hold_each_value_once() {
    let mut slab = Slab::default();
    assert!(slab.part(0, 4).is_none());
    let ids = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"].map(|n| insert(&mut slab, n));
    slab.remove(ids[5]);
    let part = |first| -> Option<String> {
        let part = slab.part(first, 4)?;
        Some(
            part.map(|(id, value)| *slab.get(id).filter(|found| *found == value).unwrap())
                .collect(),
        )
    };
    assert_eq!([0, 4, 8].map(part), ["0123", "467", "89"].map(|it| Some(it.to_owned())));
    assert_eq!(part(12), None);
}

#[test]
fn values_in_several_blocks_are_found() {
    let mut slab = Slab::default();
    let ids: Vec<_> = (0..=2 * BLOCK).map(|_| insert(&mut slab, "value")).collect();
    assert!(ids.iter().all(|id| slab.get(*id).is_some()));
    assert_eq!(values(&slab).len(), ids.len());
    let across: Vec<_> = slab.part(BLOCK - 1, 3).unwrap().map(|(id, _)| id).collect();
    assert_eq!(across, ids[BLOCK - 1..BLOCK + 2]);
    assert!(slab.part(2 * BLOCK, 1).is_some());
    assert!(slab.part(2 * BLOCK + 1, 1).is_none());
    slab.remove(ids[BLOCK]);
    assert_eq!((slab.len(), values(&slab).len()), (2 * BLOCK, 2 * BLOCK));
    assert_ne!(insert(&mut slab, "newer"), ids[BLOCK]);
    assert_eq!(slab.len(), ids.len());
}
