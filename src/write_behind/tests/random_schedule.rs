//! Random sequences of events: no change is forgotten.

use std::sync::Arc;

use super::{
    super::{
        entry::{Entry, Urgency},
        states::Item,
    },
    schedule::{Plan, settings},
};

/// A thread that has set a mark and not queued the entry yet.
type Marking = (Arc<Entry>, Urgency);

/// Marks, batches that succeed or fail, departures and all other events, in random order: the
/// counts and the queues are right, and no change is forgotten.
#[test]
fn no_change_is_forgotten_in_any_order_of_events() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut plan = Plan::new();
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut discarded: Vec<Arc<Entry>> = Vec::new();
        let mut markings: Vec<Marking> = Vec::new();
        let mut batch: Option<(Vec<Item>, usize)> = None;
        for now in 0..400 {
            let any = random.choice(&entries).cloned();
            match (random.u8(..17), any) {
                (0 | 1, _) => {
                    let settings = settings(random.u64(..50), random.u64(..20));
                    let entry = plan.add(&now.to_string(), settings);
                    if random.bool() {
                        entries.push(entry);
                    } else {
                        plan.schedule.remove(entry.id);
                    }
                }
                (2..7, Some(entry)) => {
                    let urgency = if random.bool() { Urgency::Counts } else { Urgency::Transition };
                    if entry.mark(urgency) {
                        markings.push((entry, urgency));
                    }
                }
                (7..11, _) if !markings.is_empty() => {
                    let (entry, urgency) = markings.swap_remove(random.usize(..markings.len()));
                    plan.schedule.mark(entry.id, urgency, plan.at(now));
                }
                (11, Some(entry)) => {
                    entries.retain(|other| other.id != entry.id);
                    let how = if entry.is_suspended() { 0 } else { random.u8(..3) };
                    match how {
                        0 => drop(plan.schedule.remove(entry.id)),
                        1 => {
                            plan.schedule.discard(entry.id, plan.at(now));
                            discarded.push(entry);
                        }
                        _ => {
                            entry.mark(Urgency::Transition);
                            plan.schedule.depart(entry.id, plan.at(now + random.u64(..50)));
                            plan.schedule.mark(entry.id, Urgency::Transition, plan.at(now));
                        }
                    }
                }
                (12, _) if batch.is_none() => {
                    plan.schedule.save_again(0, usize::MAX, plan.at(now));
                }
                (13, Some(entry)) => {
                    let new = settings(random.u64(..50), random.u64(..20));
                    plan.schedule.set_settings(entry.id, new, plan.at(now));
                }
                (14, Some(entry)) => {
                    if entry.is_suspended() {
                        plan.schedule.resume(entry.id, plan.at(now));
                    } else {
                        plan.schedule.suspend(entry.id);
                    }
                }
                _ => step(&mut plan, &mut batch, &entries, now, &mut random),
            }
            plan.schedule.check();
            // Each is deleted at some time.
            discarded.retain(|entry| plan.schedule.contains(entry.id));
            let is_taken = |entry: &Arc<Entry>| {
                batch
                    .as_ref()
                    .is_some_and(|(items, _)| items.iter().any(|item| item.entry.id == entry.id))
            };
            for entry in &discarded {
                let is_remembered = plan.schedule.is_queued(entry.id) || is_taken(entry);
                assert!(is_remembered, "seed {seed}, time {now}: {}", entry.name());
            }
            let in_batch = |entry: &Arc<Entry>| {
                batch.as_ref().is_some_and(|(items, encoded)| {
                    items[*encoded..].iter().any(|item| item.entry.id == entry.id)
                })
            };
            // A suspended entry is queued again when it is resumed.
            let is_to_be_saved = |entry: &&Arc<Entry>| entry.is_marked() && !entry.is_suspended();
            for entry in entries.iter().filter(is_to_be_saved) {
                let is_remembered = plan.schedule.is_queued(entry.id)
                    || in_batch(entry)
                    || markings.iter().any(|(marking, _)| marking.id == entry.id);
                assert!(is_remembered, "seed {seed}, time {now}: {}", entry.name());
            }
        }
    }
}

/// Takes a batch, or encodes its next item, or concludes it when all are encoded.
fn step(
    plan: &mut Plan,
    batch: &mut Option<(Vec<Item>, usize)>,
    entries: &[Arc<Entry>],
    now: u64,
    random: &mut fastrand::Rng,
) {
    let now = plan.at(now);
    match batch {
        None => {
            let retry = plan.schedule.take_retry(Some(now), random.bool(), now);
            let requested = random.choice(entries).map(|entry| entry.id).into_iter().collect();
            let items = match retry {
                Some((items, _)) => items,
                None if random.bool() => plan.schedule.take_requested(requested),
                None => plan.schedule.take_due(requested, now),
            };
            *batch = Some((items, 0));
        }
        Some((items, encoded)) if *encoded < items.len() => {
            let item = &mut items[*encoded];
            let entry = &item.entry;
            let was_marked = !entry.is_suspended() && entry.encode_if_marked().unwrap().is_some();
            item.is_encoded = was_marked;
            item.has_failed = (was_marked || item.is_discarded) && random.u8(..3) == 0;
            *encoded += 1;
        }
        Some((items, _)) => {
            for item in items {
                let id = item.entry.id;
                let gone = plan.schedule.conclude(item, now);
                assert!(gone.is_some() || !item.is_discarded || item.has_failed);
                let is_saved_again = plan.schedule.contains(id)
                    && !plan.schedule.is_discarded(id)
                    && !item.entry.is_suspended();
                if item.has_failed && is_saved_again {
                    assert!(item.entry.is_marked(), "{} is not saved", item.entry.name());
                }
            }
            plan.schedule.pause(now);
            *batch = None;
        }
    }
}
