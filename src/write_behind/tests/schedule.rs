//! What is due when, whatever the store does.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::super::{
    SaveSettings,
    entry::{Entry, Urgency},
    keys,
    schedule::Schedule,
    states::{Item, ReadState},
};
use super::fakes::{Breaker, patient};

pub(super) fn settings(flush_ms: u64, transition_ms: u64) -> SaveSettings {
    SaveSettings {
        flush_interval: Duration::from_millis(flush_ms),
        transition_flush_interval: Duration::from_millis(transition_ms),
        history_retention_days: 30,
    }
}

pub(super) struct Plan {
    pub(super) schedule: Schedule,
    start: Instant,
}

impl Plan {
    pub(super) fn new() -> Self {
        Self { schedule: Schedule::default(), start: Instant::now() }
    }

    pub(super) fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    pub(super) fn add(&mut self, name: &str, settings: SaveSettings) -> Arc<Entry> {
        let entry = self.add_unread(name, settings);
        self.schedule.set_read(entry.id);
        entry
    }

    fn add_unread(&mut self, name: &str, settings: SaveSettings) -> Arc<Entry> {
        let source = Breaker::new("closed");
        self.schedule.insert(settings, |id| Entry::new(id, keys::snapshot(name), source))
    }

    fn mark(&mut self, entry: &Entry, urgency: Urgency, millis: u64) -> bool {
        entry.mark(urgency) && self.schedule.mark(entry.id, urgency, self.at(millis))
    }

    fn due(&self) -> Option<u64> {
        let due = self.schedule.due(None, false)?;
        Some(u64::try_from((due - self.start).as_millis()).unwrap())
    }

    fn take(&mut self, millis: u64) -> Vec<Item> {
        self.schedule.take_due(Vec::new(), self.at(millis))
    }

    /// Saves these, or fails to.
    fn conclude(&mut self, items: &mut [Item], failed: bool, millis: u64) {
        for item in items {
            item.is_encoded = item.entry.encode_if_marked().unwrap().is_some();
            item.has_failed = failed;
            self.schedule.conclude(item, self.at(millis));
        }
    }

    fn take_retry(&mut self, retry_at: u64, now: u64) -> Option<Vec<Item>> {
        let (retry_at, now) = (self.at(retry_at), self.at(now));
        Some(self.schedule.take_retry(Some(retry_at), false, now)?.0)
    }
}

fn names(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.entry.name()).collect()
}

#[test]
fn an_entry_is_due_after_its_own_interval() {
    let mut plan = Plan::new();
    let quick = plan.add("quick", settings(100, 10));
    let slow = plan.add("slow", settings(60_000, 60_000));
    assert_eq!(plan.due(), None);
    assert!(plan.mark(&slow, Urgency::Counts, 0));
    assert_eq!(plan.due(), Some(60_000));
    assert!(plan.mark(&quick, Urgency::Counts, 0), "the writer has to wake earlier");
    assert!(!plan.mark(&quick, Urgency::Counts, 50), "it is already queued");
    assert_eq!(plan.due(), Some(100));
    let mut batch = plan.take(100);
    assert_eq!(names(&batch), ["quick"], "others are not saved more often because of it");
    plan.conclude(&mut batch, false, 101);
    assert_eq!((plan.due(), plan.schedule.pending()), (Some(60_000), 1));
    assert!(plan.mark(&slow, Urgency::Transition, 200));
    assert_eq!(plan.due(), Some(60_000), "a transition waits no longer than counts");
    assert!(plan.mark(&quick, Urgency::Transition, 300));
    assert_eq!(plan.due(), Some(310));
    assert_eq!(names(&plan.take(310)), ["quick", "slow"], "transitions are saved together");
}

#[test]
fn counts_that_are_due_soon_are_saved_with_those_that_are_due() {
    let mut plan = Plan::new();
    let entries: Vec<_> = (0..10).map(|n| plan.add(&n.to_string(), settings(1000, 0))).collect();
    for (n, entry) in (0..).zip(&entries) {
        plan.mark(entry, Urgency::Counts, n * 100);
    }
    assert_eq!(plan.due(), Some(1000));
    let mut batch = plan.take(1000);
    assert_eq!(names(&batch), ["0", "1", "2"]);
    plan.conclude(&mut batch, false, 1000);
    assert_eq!(plan.due(), Some(1300));
}

#[test]
fn an_entry_that_changes_while_it_is_saved_is_saved_again() {
    let mut plan = Plan::new();
    let entry = plan.add("a", settings(1000, 0));
    plan.mark(&entry, Urgency::Counts, 0);
    let mut batch = plan.take(1000);
    assert!(!plan.mark(&entry, Urgency::Counts, 1001), "it is encoded after this");
    let _ = entry.encode_if_marked().unwrap().expect("a snapshot");
    assert!(plan.mark(&entry, Urgency::Counts, 1002));
    assert_eq!(plan.schedule.pending(), 1);
    plan.schedule.conclude(&batch[0], plan.at(1003));
    assert_eq!((plan.schedule.pending(), plan.due()), (1, Some(2002)));
    batch = plan.take(2002);
    plan.conclude(&mut batch, false, 2003);
    assert_eq!((plan.schedule.pending(), plan.due()), (0, None));
}

#[test]
fn a_mark_that_is_not_queued_yet_is_not_lost() {
    let mut plan = Plan::new();
    let entry = plan.add("a", settings(1000, 0));
    plan.mark(&entry, Urgency::Counts, 0);
    let batch = plan.take(1000);
    let _ = entry.encode_if_marked().unwrap().expect("a snapshot");
    // A thread marks the entry, and another concludes the batch before that thread continues.
    assert!(entry.mark(Urgency::Transition));
    plan.schedule.conclude(&batch[0], plan.at(1001));
    assert!(plan.schedule.mark(entry.id, Urgency::Transition, plan.at(1002)));
    assert_eq!((plan.schedule.pending(), plan.due()), (1, Some(1002)));
}

#[test]
fn a_failed_save_is_not_forgotten_when_its_mark_is_not_queued_yet() {
    let mut plan = Plan::new();
    let entry = plan.add("a", settings(1000, 0));
    // A request has it saved before the thread that has marked it queues it.
    assert!(entry.mark(Urgency::Transition));
    let mut batch = plan.schedule.take_requested(vec![entry.id]);
    plan.conclude(&mut batch, true, 1);
    plan.schedule.mark(entry.id, Urgency::Transition, plan.at(2));
    plan.schedule.check();
    assert_eq!(plan.schedule.pending(), 1);
    let batch = plan.take_retry(100, 100).unwrap();
    assert_eq!(names(&batch), ["a"]);
    assert!(entry.encode_if_marked().unwrap().is_some(), "it is still to be saved");
}

#[test]
fn what_failed_is_retried_apart_from_the_others() {
    let mut plan = Plan::new();
    let [a, b] = ["a", "b"].map(|name| plan.add(name, settings(1000, 0)));
    plan.mark(&a, Urgency::Transition, 0);
    let mut batch = plan.take(0);
    plan.conclude(&mut batch, true, 1);
    assert!(plan.schedule.has_failed() && plan.schedule.has_save_failed(a.id));
    assert!(!plan.mark(&a, Urgency::Transition, 2), "it waits for the retry");
    plan.mark(&b, Urgency::Transition, 3);
    let mut batch = plan.take(10);
    assert_eq!(names(&batch), ["b"]);
    plan.conclude(&mut batch, false, 11);
    assert!(plan.take_retry(100, 99).is_none());
    let mut batch = plan.take_retry(100, 100).unwrap();
    assert_eq!(names(&batch), ["a"]);
    assert!(batch[0].is_retried);
    plan.conclude(&mut batch, false, 101);
    assert!(!plan.schedule.has_failed());
    assert_eq!(plan.schedule.pending(), 0);
}

/// Each call takes longer than there is to wait for the retry, and fails.
#[test]
fn failing_requests_do_not_postpone_the_retry() {
    let mut plan = Plan::new();
    let [a, asks] = ["a", "asks"].map(|name| plan.add(name, settings(1000, 0)));
    for entry in [&a, &asks] {
        plan.mark(entry, Urgency::Transition, 0);
    }
    let mut batch = plan.take(0);
    plan.conclude(&mut batch, true, 1);
    let mut batch = plan.schedule.take_due(vec![asks.id], plan.at(50));
    assert_eq!(names(&batch), ["asks"]);
    plan.conclude(&mut batch, true, 200);
    let others_wait = true;
    let (items, _) =
        plan.schedule.take_retry(Some(plan.at(100)), others_wait, plan.at(200)).unwrap();
    assert_eq!(names(&items), ["a"]);
    assert!(plan.schedule.has_retried(plan.at(100)), "the other has just been tried");
    let next = plan.schedule.take_retry(Some(plan.at(100)), others_wait, plan.at(201));
    assert!(next.is_none(), "retries do not postpone requests");
}

#[test]
fn a_long_retry_goes_on_where_it_stopped() {
    let mut plan = Plan::new();
    let entries: Vec<_> = (0..1200).map(|n| plan.add(&n.to_string(), settings(1000, 0))).collect();
    for entry in &entries {
        plan.mark(entry, Urgency::Transition, 0);
    }
    while plan.schedule.is_due(plan.at(0)) {
        let mut batch = plan.take(0);
        assert!(batch.len() <= 600, "{} at once", batch.len());
        plan.conclude(&mut batch, true, 1);
    }
    let mut tried = Vec::new();
    while !plan.schedule.has_retried(plan.at(100)) {
        let mut batch = plan.take_retry(100, 101).unwrap();
        assert!(batch.len() <= 600, "{} at once", batch.len());
        tried.extend(batch.iter().map(|item| item.entry.id));
        plan.conclude(&mut batch, true, 102);
    }
    assert_eq!(tried.len(), 1200);
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried.len(), 1200, "each once");
}

/// A part of the store may hold the new state, and a retry takes some of the entries only.
#[test]
fn a_breaker_whose_state_changes_before_it_could_be_read_is_retried_first() {
    let mut plan = Plan::new();
    let entries: Vec<_> =
        (0..1200).map(|n| plan.add_unread(&n.to_string(), settings(1000, 0))).collect();
    for entry in &entries {
        plan.schedule.read_later(entry.id, plan.at(1));
    }
    let first = |plan: &mut Plan, at: u64| {
        let mut batch = plan.take_retry(at, at + 1).unwrap();
        assert!(batch.len() <= 600, "{} at once", batch.len());
        for item in &mut batch {
            // Its state was taken for that part.
            let _ = item.entry.encode_early();
            (item.has_failed, item.read) = (true, ReadState::Failed);
        }
        batch
    };
    let conclude = |plan: &mut Plan, batch: &[Item], at: u64| {
        for item in batch {
            plan.schedule.conclude(item, plan.at(at));
        }
        plan.schedule.check();
    };
    let [counts, changed, during] = [&entries[900], &entries[1100], &entries[1000]];
    plan.mark(counts, Urgency::Counts, 2);
    plan.mark(changed, Urgency::Transition, 3);
    let batch = first(&mut plan, 100);
    assert!(names(&batch).contains(&"1100"));
    assert!(!names(&batch).contains(&"900"), "counts have time");
    conclude(&mut plan, &batch, 102);
    // Once more, and one while it is tried.
    plan.mark(changed, Urgency::Transition, 103);
    let batch = first(&mut plan, 200);
    assert!(names(&batch).contains(&"1100"));
    plan.mark(changed, Urgency::Transition, 202);
    conclude(&mut plan, &batch, 203);
    plan.mark(during, Urgency::Transition, 204);
    let batch = first(&mut plan, 300);
    assert!(["1000", "1100"].iter().all(|name| names(&batch).contains(name)));
}

#[test]
fn entries_that_come_and_go_while_the_store_hangs_are_not_kept() {
    let mut plan = Plan::new();
    let gone: Vec<Weak<Entry>> = (0..10_000)
        .map(|n| {
            let entry = plan.add("a", settings(1000, 0));
            if n % 3 == 0 {
                plan.mark(&entry, Urgency::Counts, 0);
            } else {
                plan.mark(&entry, Urgency::Transition, 0);
            }
            plan.schedule.remove(entry.id);
            Arc::downgrade(&entry)
        })
        .collect();
    assert!(gone.iter().all(|entry| entry.strong_count() == 0));
    assert_eq!((plan.due(), plan.schedule.pending()), (None, 0));
}

#[test]
fn breakers_that_are_gone_come_first_in_every_batch_in_their_order() {
    let mut plan = Plan::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| plan.add(name, settings(1000, 0)));
    for entry in [&a, &b, &c] {
        plan.mark(entry, Urgency::Counts, 0);
    }
    plan.schedule.depart(c.id, plan.at(100));
    plan.schedule.depart(a.id, plan.at(100));
    let mut batch = plan.schedule.take_requested(vec![b.id, b.id]);
    assert_eq!(names(&batch), ["c", "a", "b"]);
    plan.conclude(&mut batch, true, 50);
    assert_eq!(plan.schedule.departing(), 2, "they are tried again until their time is up");
    let mut batch = plan.take(60);
    assert_eq!(names(&batch), ["c", "a"]);
    plan.conclude(&mut batch[..1], true, 100);
    plan.conclude(&mut batch[1..], false, 100);
    assert_eq!(plan.schedule.departing(), 0, "one was saved, and the other is given up");
    assert!(plan.schedule.contains(b.id) && !plan.schedule.contains(a.id));
}

#[test]
fn an_attempt_that_began_before_the_breaker_went_is_not_its_last() {
    let mut plan = Plan::new();
    let entry = plan.add("a", settings(60_000, 60_000));
    plan.mark(&entry, Urgency::Counts, 0);
    for failed in [true, false] {
        let mut batch = plan.schedule.take_requested(vec![entry.id]);
        let _ = entry.encode_if_marked().unwrap();
        batch[0].has_failed = failed;
        plan.mark(&entry, Urgency::Counts, 1);
        batch[0].is_departing = false;
        plan.schedule.depart(entry.id, plan.at(0));
        plan.schedule.conclude(&batch[0], plan.at(2));
        assert!(plan.schedule.contains(entry.id), "failed: {failed}");
    }
    assert_eq!(plan.due(), Some(2), "what changed since is saved at once");
}

#[test]
fn what_was_not_read_is_neither_saved_again_nor_pending() {
    let mut plan = Plan::new();
    let read = plan.add("read", settings(1000, 0));
    let source = Breaker::new("closed");
    let unread = plan
        .schedule
        .insert(settings(1000, 0), |id| Entry::new(id, keys::snapshot("unread"), source));
    plan.schedule.read_later(unread.id, plan.at(0));
    assert_eq!((plan.schedule.pending(), plan.schedule.has_failed()), (0, true));
    assert!(plan.schedule.save_again(0, 100, plan.at(1)));
    assert!(!plan.schedule.save_again(100, 100, plan.at(1)));
    assert_eq!(names(&plan.take(1)), [read.name()]);
    assert!(!plan.mark(&unread, Urgency::Transition, 2));
    assert_eq!(plan.schedule.pending(), 2, "now it has something to save");
    let batch = plan.take_retry(1, 3).unwrap();
    assert_eq!((names(&batch), batch[0].read), (vec!["unread"], ReadState::Failed));
}

#[test]
fn new_settings_bring_forward_what_waits() {
    let mut plan = Plan::new();
    let entry = plan.add("a", settings(3_600_000, 0));
    plan.mark(&entry, Urgency::Counts, 0);
    assert!(plan.schedule.set_settings(entry.id, settings(1000, 0), plan.at(500)));
    assert_eq!(plan.due(), Some(1500));
    plan.schedule.set_settings(entry.id, settings(60_000, 0), plan.at(600));
    assert_eq!(plan.due(), Some(1500), "an earlier due time is kept");
}

#[test]
fn due_entries_gather_for_a_moment_after_a_batch() {
    let mut plan = Plan::new();
    let [a, b] = ["a", "b"].map(|name| plan.add(name, patient().save()));
    plan.mark(&a, Urgency::Transition, 0);
    let mut batch = plan.take(0);
    plan.conclude(&mut batch, false, 10);
    plan.schedule.pause(plan.at(10));
    plan.mark(&b, Urgency::Transition, 11);
    assert_eq!(plan.due(), Some(15));
    assert_eq!(names(&plan.take(12)), [""; 0]);
    assert_eq!(
        names(&plan.schedule.take_due(vec![b.id], plan.at(12))),
        ["b"],
        "a request is not delayed"
    );
}

#[test]
fn a_suspended_entry_is_not_due_and_is_saved_at_once_when_it_is_resumed() {
    let mut plan = Plan::new();
    let entry = plan.add("a", settings(100, 10));
    plan.mark(&entry, Urgency::Transition, 0);
    plan.schedule.suspend(entry.id);
    plan.schedule.check();
    plan.schedule.mark(entry.id, Urgency::Transition, plan.at(0));
    assert!(plan.schedule.save_again(0, usize::MAX, plan.at(0)));
    assert_eq!((plan.due(), plan.schedule.pending()), (None, 0));
    plan.schedule.resume(entry.id, plan.at(50));
    assert_eq!((plan.due(), plan.schedule.pending()), (Some(50), 1));
    let mut items = plan.take(50);
    assert_eq!(names(&items), ["a"]);
    plan.conclude(&mut items, false, 60);
    assert_eq!(plan.schedule.pending(), 0);
    plan.schedule.check();
}
