//! Many breakers built at once: their snapshots are read together, and are still the newest.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Waker},
    thread,
    time::Duration,
};

use super::{
    super::Attachment,
    fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, patient, until},
};
use crate::store::StateStore;

struct Crowd {
    store: Faulty,
    attached: Vec<(Arc<Breaker>, Attachment)>,
}

impl Crowd {
    fn new(store: &Faulty) -> Self {
        Self { store: store.clone(), attached: Vec::new() }
    }

    fn build(&mut self, name: &str) -> (String, bool) {
        let loads = self.store.loads.load(SeqCst);
        let breaker = Breaker::new("closed");
        let attached = attach(&self.store, name, &breaker, &patient());
        let state = breaker.state();
        self.attached.push((breaker, attached));
        (state, self.store.loads.load(SeqCst) > loads)
    }

    /// Builds other breakers until one is built without a call to the store.
    fn until_all_is_read(&mut self) {
        for _ in 0..10_000 {
            // A name of its own: a second breaker of one name begins with the state of the first.
            let name = format!("filler {}", self.attached.len());
            if !self.build(&name).1 {
                return;
            }
        }
        panic!("it was never read at once");
    }

    /// Has the store hang, with a save under way.
    fn until_it_hangs(&self) {
        self.store.set(Fault::Hangs);
        let calls = self.store.calls.load(SeqCst);
        self.attached[0].1.marker().transition();
        until("the store hangs", || self.store.calls.load(SeqCst) > calls);
    }

    /// Visits one that is found without asking the store, and gives it a new state. Returns its
    /// name.
    fn visit_what_was_read(&mut self, kind: &str, state: &str) -> String {
        for round in 0..ROUNDS {
            self.until_all_is_read();
            let name = format!("{kind} {round}");
            let (found, asked) = visit(&self.store, &name, Some("new"));
            assert_eq!(found, state);
            if !asked {
                return name;
            }
        }
        panic!("{kind}: the store was always asked");
    }
}

/// What was read is believed for two seconds: so often a machine may be too slow for that.
const ROUNDS: usize = 20;

/// Builds one, and lets it go.
fn visit(store: &Faulty, name: &str, state: Option<&str>) -> (String, bool) {
    let loads = store.loads.load(SeqCst);
    let breaker = Breaker::new("closed");
    let attached = attach(store, name, &breaker, &patient());
    let (found, asked) = (breaker.state(), store.loads.load(SeqCst) > loads);
    if let Some(state) = state {
        breaker.change(state);
        attached.flush_blocking(LONG).unwrap();
    }
    (found, asked)
}

#[test]
fn many_snapshots_are_read_at_once_and_each_breaker_gets_its_own() {
    let store = Faulty::new(Fault::None);
    // More than a page.
    for n in 0..3000 {
        store.put(&n.to_string(), &format!("state {n}"));
    }
    let mut crowd = Crowd::new(&store);
    for n in 0..3000 {
        assert_eq!(crowd.build(&n.to_string()).0, format!("state {n}"));
    }
    let loads = store.loads.load(SeqCst);
    assert!(loads < 1500, "{loads} loads for 3,000 breakers");
    for (n, (breaker, attached)) in crowd.attached.iter().enumerate() {
        assert_eq!(breaker.restores.load(SeqCst), 1);
        if n % 100 == 0 {
            breaker.change("changed");
            attached.flush_blocking(LONG).unwrap();
            assert!(store.holds(&n.to_string(), "changed"));
        }
    }
}

#[test]
fn constant_requests_do_not_keep_the_writer_from_reading_ahead() {
    let store = Faulty::new(Fault::Slow(Duration::from_millis(1)));
    // Some twenty pages: one a round, where it should be.
    for n in 0..20_000 {
        store.put(&n.to_string(), "old");
    }
    let mut crowd = Crowd::new(&store);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let attached = attach(&store, "asker", &Breaker::new("closed"), &patient());
            let mut cx = Context::from_waker(Waker::noop());
            while !over.load(SeqCst) {
                // The request is made at the first poll; the answer is dropped.
                let _ = pin!(attached.flush()).poll(&mut cx);
                thread::sleep(Duration::from_micros(20));
            }
        });
        let was_read = (0..200).any(|n| !crowd.build(&format!("filler {n}")).1);
        over.store(true, SeqCst);
        assert!(was_read, "the reading never came to an end");
    });
}

#[test]
fn few_snapshots_are_read_one_by_one() {
    let store = Faulty::new(Fault::None);
    let mut crowd = Crowd::new(&store);
    for n in 0..30 {
        assert!(crowd.build(&n.to_string()).1);
    }
    thread::sleep(Duration::from_millis(50));
    assert_eq!(store.pages.load(SeqCst), 0);
}

#[test]
fn a_newer_save_wins_over_what_was_preloaded() {
    let store = Faulty::new(Fault::None);
    store.put("there before", "old");
    for round in 0..ROUNDS {
        store.put(&format!("there {round}"), "old");
    }
    let before = Breaker::new("closed");
    let attached = attach(&store, "there before", &before, &patient());
    let mut crowd = Crowd::new(&store);
    crowd.until_all_is_read();

    before.change("new");
    drop(attached);
    assert_eq!(visit(&store, "there before", None).0, "new");

    let there = crowd.visit_what_was_read("there", "old");
    assert_eq!(visit(&store, &there, None), ("new".into(), true));

    let not_there = crowd.visit_what_was_read("not there", "closed");
    assert_eq!(visit(&store, &not_there, None), ("new".into(), true));
}

#[test]
fn a_save_during_the_preload_wins() {
    let store = Faulty::new(Fault::None);
    // Enough that the key of this one is read in the first of the pages, or never.
    for n in 0..20_000 {
        store.put(&format!("{n:05}"), "old");
    }
    let mut crowd = Crowd::new(&store);
    for n in 0..32 {
        crowd.build(&format!("{n:05}"));
    }
    store.set(Fault::Slow(Duration::from_millis(20)));
    until("the reading has begun", || store.pages.load(SeqCst) > 0);
    assert_eq!(visit(&store, "19999", Some("new")).0, "old");
    assert_eq!(visit(&store, "00100", Some("new")).0, "old");
    store.set(Fault::None);
    crowd.until_all_is_read();
    assert_eq!(visit(&store, "19999", None).0, "new");
    assert_eq!(visit(&store, "00100", None).0, "new");
}

#[test]
fn what_was_read_is_used_while_the_rest_is_being_read() {
    let store = Faulty::new(Fault::None);
    // 20 pages.
    for n in 0..20_000 {
        store.put(&format!("{n:05}"), &format!("state {n}"));
    }
    let mut crowd = Crowd::new(&store);
    for n in 0..32 {
        crowd.build(&format!("{n:05}"));
    }
    store.set(Fault::Slow(Duration::from_millis(50)));
    until("the first pages are read", || store.pages.load(SeqCst) > 2);
    let found = (100..1000).map(|n| crowd.build(&format!("{n:05}")));
    let expected = (100..1000).map(|n| (format!("state {n}"), false));
    assert!(found.eq(expected));
    assert!(store.pages.load(SeqCst) < 20, "not all is read");
}

#[test]
fn a_last_state_that_waits_for_the_store_wins() {
    let store = Faulty::new(Fault::None);
    store.put("a", "old");
    let hasty = Settings { drop_wait: Duration::from_millis(50), ..patient() };
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &hasty);
    let mut crowd = Crowd::new(&store);
    crowd.until_all_is_read();
    crowd.until_it_hangs();
    breaker.change("new");
    drop(attached);
    let again = Breaker::new("closed");
    let _attached = attach(&store, "a", &again, &hasty);
    assert_eq!(again.state(), "new", "without the store");
    store.set(Fault::None);
    until("it is saved", || store.holds("a", "new"));
    assert_eq!(again.state(), "new");
}

/// In a group of breakers by key, clients may invent keys, so that there are always some that are
/// gone.
#[test]
fn breakers_of_other_names_that_are_gone_change_nothing_about_what_was_read() {
    let wait = Duration::from_millis(50);
    let hasty = Settings { drop_wait: wait, load_wait: wait, ..patient() };
    let finds_what_was_read = || {
        let store = Faulty::new(Fault::None);
        store.put("a", "stored");
        let gone = Breaker::new("closed");
        let attached = attach(&store, "gone", &gone, &hasty);
        let mut crowd = Crowd::new(&store);
        crowd.until_all_is_read();
        crowd.until_it_hangs();
        gone.change("new");
        let inbox = Arc::clone(attached.inbox());
        drop(attached);
        assert_eq!(inbox.content().schedule.departing(), 1, "its last state waits");
        let breaker = Breaker::new("closed");
        let _attached = attach(&store, "a", &breaker, &hasty);
        let found = breaker.state();
        store.set(Fault::None);
        found == "stored"
    };
    assert!((0..ROUNDS).any(|_| finds_what_was_read()), "the store was always asked");
}

#[test]
fn an_unreadable_preloaded_snapshot_is_left_to_the_writer() {
    let store = Faulty::new(Fault::None);
    store.put("corrupt", "corrupt as can be");
    store.put("newer", "newer and better");
    let mut crowd = Crowd::new(&store);
    crowd.until_all_is_read();
    assert_eq!(crowd.build("corrupt").0, "closed");
    until("it is replaced", || store.holds("corrupt", "closed"));
    assert!(store.memory.load("circuit_breaker:corrupt:quarantine").unwrap().is_some());
    crowd.build("newer");
    let (_, attached) = crowd.attached.last().unwrap();
    assert!(!attached.health().is_healthy());
    attached.flush_blocking(LONG).unwrap_err();
    assert!(store.holds("newer", "newer and better"));
}

#[test]
fn what_was_preloaded_is_used_for_a_short_time_only() {
    let store = Faulty::new(Fault::None);
    let mut crowd = Crowd::new(&store);
    // Another process on the same store.
    let count = AtomicUsize::new(0);
    let is_seen = || {
        let name = format!("elsewhere {}", count.fetch_add(1, SeqCst));
        store.put(&name, "open");
        visit(&store, &name, None).0 == "open"
    };
    let is_believed = (0..ROUNDS).any(|_| {
        crowd.until_all_is_read();
        !is_seen()
    });
    assert!(is_believed, "at first it is believed");
    until("another process is seen to have saved", || {
        thread::sleep(Duration::from_millis(100));
        is_seen()
    });
    let pages = store.pages.load(SeqCst);
    crowd.until_all_is_read();
    assert!(store.pages.load(SeqCst) > pages, "a later crowd is served as the first was");
}

#[test]
fn a_store_whose_pages_cannot_be_read_is_read_one_by_one() {
    let store = Faulty::new(Fault::NoPages);
    for n in 0..200 {
        store.put(&n.to_string(), &format!("state {n}"));
    }
    let mut crowd = Crowd::new(&store);
    for n in 0..200 {
        let (state, asked) = crowd.build(&n.to_string());
        assert_eq!(state, format!("state {n}"));
        assert!(asked, "{n} was found without asking for it");
    }
    assert_eq!(store.pages.load(SeqCst), 1, "it is not tried again and again");
    assert!(crowd.attached.iter().all(|(_, attached)| attached.health().is_healthy()));
}

#[test]
fn a_store_whose_pages_can_be_read_again_is_read_at_once_again() {
    let store = Faulty::new(Fault::NoPages);
    let mut crowd = Crowd::new(&store);
    until("it is tried", || {
        crowd.build(&format!("early {}", crowd.attached.len()));
        store.pages.load(SeqCst) > 0
    });
    store.set(Fault::None);
    until("it is tried again", || {
        let name = format!("late {}", crowd.attached.len());
        !crowd.build(&name).1
    });
}
