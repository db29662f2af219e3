//! Snapshots that no caller waits for.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst, mpsc},
    time::{Duration, Instant},
};

use super::{
    super::{
        content::InboxContent,
        entry::Entry,
        keys,
        request::{Wanted, WriterRequest},
    },
    fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, patient, until},
};

const LONG_WORK: Duration = Duration::from_secs(10);

struct Group {
    content: InboxContent,
    entries: Vec<Arc<Entry>>,
}

impl Group {
    /// New breakers whose snapshots are to be read.
    fn new(count: usize) -> Self {
        let mut content = InboxContent::default();
        let join = |n| {
            let make = |id| Entry::new(id, keys::snapshot(&format!("{n}")), Breaker::new("closed"));
            content.join(Settings::default().save(), make).entry
        };
        let entries: Vec<_> = (0..count).map(join).collect();
        for (n, entry) in entries.iter().enumerate() {
            assert_eq!(content.requests.read_unawaited(entry.id), n == 0);
        }
        Self { content, entries }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.content.batch_due(None, false, now)
    }

    /// How many snapshots a batch reads that begins then and takes this long.
    fn batch(&mut self, now: Instant, takes: Duration) -> usize {
        let items = self.content.take_batch(None, false, now).items;
        self.content.end_batch(now, now + takes);
        items.len()
    }
}

#[test]
fn many_are_read_in_parts() {
    let (mut group, now) = (Group::new(1100), Instant::now());
    assert_eq!(group.due(now), Some(now));
    let parts = [(); 4].map(|()| group.batch(now, Duration::ZERO));
    assert_eq!(parts, [512, 512, 76, 0]);
    assert_eq!(group.due(now), None);
}

#[test]
fn those_of_breakers_that_are_gone_are_not_read() {
    let (mut group, now) = (Group::new(1100), Instant::now());
    for entry in &group.entries[..1000] {
        group.content.remove(entry);
    }
    assert_eq!(group.batch(now, Duration::ZERO), 100);
    assert_eq!(group.due(now), None);
}

#[test]
fn the_writer_rests_after_long_work_and_serves_callers_that_wait() {
    let (mut group, began) = (Group::new(2000), Instant::now());
    assert_eq!(group.batch(began, LONG_WORK), 512);
    let now = began + LONG_WORK;
    let due = group.due(now).unwrap();
    assert!(due > now, "it rests");
    assert_eq!(group.batch(now, Duration::ZERO), 0, "it rests");

    let (reply, _answer) = mpsc::sync_channel(1);
    let last = group.entries.last().unwrap().id;
    let request = WriterRequest { entry: last, wanted: Wanted::Load(reply) };
    group.content.requests.waiting.push(request);
    assert_eq!(group.due(now), Some(now), "a caller waits");
    assert_eq!(group.batch(now, LONG_WORK), 1);
    assert_eq!(group.due(due), Some(due), "what callers wait for is no part of the budget");
    assert_eq!(group.batch(due, Duration::ZERO), 512);
}

#[test]
fn what_is_to_be_read_is_read_with_a_retry_once_the_store_does_not_answer() {
    let (mut group, now) = (Group::new(3), Instant::now());
    group.content.postpone_unawaited();
    let retry = group.content.take_batch(Some(now), true, Instant::now());
    assert_eq!((retry.items.len(), retry.retry_at), (3, Some(now)));
    assert_eq!(group.content.take_batch(None, false, now).items.len(), 0);
}

/// Breakers that are built without a wait, on a store for which there is nothing else to do.
fn idle() -> Settings {
    let never = LONG * 100;
    Settings { load_wait: Duration::ZERO, sweep: (never, never), verify: never, ..patient() }
}

/// By itself, it looks for work every five seconds.
#[test]
fn the_writer_is_woken_to_read() {
    let is_restored_at_once = || {
        let store = Faulty::new(Fault::None);
        let _other = attach(&store, "other", &Breaker::new("closed"), &idle());
        until("the writer sleeps", || store.loads.load(SeqCst) == 1);
        std::thread::sleep(Duration::from_millis(50));
        store.put("a", "open");
        let (breaker, began) = (Breaker::new("closed"), Instant::now());
        let _attached = attach(&store, "a", &breaker, &idle());
        until("it is restored", || breaker.state() == "open");
        began.elapsed() < Duration::from_secs(2)
    };
    // A machine may be too slow for that, but not always.
    assert!((0..5).any(|_| is_restored_at_once()));
}

#[test]
fn what_waits_when_the_store_stops_to_answer_is_read_with_the_retry() {
    let store = Faulty::new(Fault::None);
    let other = attach(&store, "other", &Breaker::new("closed"), &idle());
    until("the writer sleeps", || store.loads.load(SeqCst) == 1);
    store.set(Fault::Hangs);
    let calls = store.calls.load(SeqCst);
    other.marker().transition();
    until("the store hangs", || store.calls.load(SeqCst) > calls);
    store.put("a", "open");
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &idle());
    let inbox = attached.inbox();
    assert!(inbox.content().requests.has_unawaited());
    inbox.stall(LONG);
    assert!(!inbox.content().requests.has_unawaited());
    store.set(Fault::None);
    until("it is restored", || breaker.state() == "open");
}
