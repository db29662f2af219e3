//! The places of a group under loom: every interleaving of a few threads, up to three preemptions.
//!
//! `.ci/loom` runs them.
//!
//! The map is a model (see `entries`), and so are the breakers: their own concurrency is checked by
//! the models of `breaker`.

use std::sync::Arc;

use loom::thread;

use super::{
    hashed::KeyHasher,
    replacement::Occupant,
    slots::{Insertion, Slots},
};
use crate::{
    state::State,
    sync::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

#[derive(Clone)]
struct Model(Arc<ModelState>);

struct ModelState {
    state: AtomicU64,
    settings: AtomicU64,
    has_left: AtomicU64,
    has_taken_over: AtomicU64,
}

impl Model {
    fn new(state: u64, settings: u64) -> Self {
        let [state, settings, has_left, has_taken_over] =
            [state, settings, 0, 0].map(AtomicU64::new);
        Self(Arc::new(ModelState { state, settings, has_left, has_taken_over }))
    }

    fn open(&self) {
        self.0.state.store(OPEN, Release);
    }

    fn has_left(&self) -> bool {
        self.0.has_left.load(Acquire) > 0
    }
}

impl Occupant for Model {
    fn published_state(&self) -> State {
        match self.0.state.load(Acquire) {
            OPEN => State::Open,
            HALF_OPEN => State::HalfOpen,
            _ => State::Closed,
        }
    }

    fn goes_on_rejecting(&self) -> bool {
        self.published_state() == State::Open
    }

    fn is_half_open_and_idle(&self) -> bool {
        self.published_state() == State::HalfOpen
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn take_over(&self) {
        self.0.has_taken_over.store(1, Relaxed);
    }

    fn leave_group(&self) {
        assert_eq!(self.0.has_left.fetch_add(1, AcqRel), 0, "a breaker leaves once");
    }
}

/// A group whose breakers begin in this state, unless they are the first one.
struct Group {
    slots: Slots<Model, u64>,
    hasher: KeyHasher,
    created: &'static AtomicU64,
    made: AtomicU64,
}

impl Group {
    fn new(max: usize) -> Arc<Self> {
        let created: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let slots = Slots::new(1, max, created);
        let hasher = KeyHasher::default();
        Arc::new(Self { slots, hasher, created, made: AtomicU64::new(0) })
    }

    fn insert(&self, key: &str, state: u64) -> Insertion<Model, Model> {
        self.slots.insert(self.hasher.hash(key), |settings| {
            self.made.fetch_add(1, Relaxed);
            let made = Model::new(state, *settings);
            (made.clone(), made)
        })
    }

    fn use_breaker<T>(&self, key: &str, work: impl FnOnce(&Model) -> T) -> Option<T> {
        self.slots.with(self.hasher.hash(key), work)
    }

    fn peek(&self, key: &str) -> Option<Model> {
        self.slots.peek(self.hasher.hash(key))
    }

    /// At the end: the map has as many breakers as the group says, and none of them has left.
    fn check(&self, max: usize) {
        let all = self.slots.breakers();
        assert_eq!(all.len() as u64, self.slots.len());
        assert!(all.len() <= max, "{} breakers", all.len());
        assert!(all.iter().all(|breaker| !breaker.has_left()));
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(check);
}

#[test]
fn a_key_that_several_threads_ask_for_has_one_breaker() {
    model(|| {
        let group = Group::new(2);
        let ask = |group: Arc<Group>| {
            move || {
                group.insert("a", CLOSED);
                group.use_breaker("a", Model::clone).expect("there is room")
            }
        };
        let other = thread::spawn(ask(Arc::clone(&group)));
        let here = ask(Arc::clone(&group))();
        assert!(here.is(&other.join().unwrap()));
        assert_eq!(group.made.load(Relaxed), 1);
        group.check(2);
    });
}

#[test]
fn keys_that_come_at_once_never_exceed_the_bound() {
    model(|| {
        let group = Group::new(1);
        group.insert("a", CLOSED);
        let come = |group: Arc<Group>, key: &'static str| {
            move || {
                group.insert(key, CLOSED);
                assert!(group.slots.breakers().len() <= 1);
            }
        };
        let other = thread::spawn(come(Arc::clone(&group), "b"));
        come(Arc::clone(&group), "c")();
        other.join().unwrap();
        group.check(1);
    });
}

/// A call records its failure, which opens the circuit, while another key looks for room. Once the
/// circuit is open, nothing replaces it.
#[test]
fn an_open_circuit_is_never_replaced() {
    model(|| {
        let group = Group::new(1);
        group.insert("a", CLOSED);
        let opened = Arc::new(AtomicU64::new(0));
        let calling = {
            let (group, opened) = (Arc::clone(&group), Arc::clone(&opened));
            thread::spawn(move || {
                // A breaker that was replaced before has no key any more.
                group.use_breaker("a", Model::open);
                let is_open = group.peek("a").is_some_and(|it| it.published_state() == State::Open);
                opened.store(u64::from(is_open), Release);
            })
        };
        let was_open = opened.load(Acquire) == 1;
        let insertion = group.insert("b", CLOSED);
        if was_open {
            assert!(matches!(insertion, Insertion::Full));
        }
        calling.join().unwrap();
        if opened.load(Acquire) == 1 {
            let found = group.peek("a");
            assert_eq!(found.is_some(), matches!(insertion, Insertion::Full));
        }
        // From here on, an open one stays in any case.
        if let Some(open) = group.peek("a").filter(|it| it.published_state() == State::Open) {
            assert!(matches!(group.insert("c", CLOSED), Insertion::Full));
            assert!(!open.has_left());
        }
        group.check(1);
    });
}

/// Two keys look for room, and the only breaker is half-open. One of them replaces it; the other
/// one replaces what came instead, or finds no room.
#[test]
fn a_half_open_circuit_is_replaced_once() {
    model(|| {
        let group = Group::new(1);
        group.insert("a", HALF_OPEN);
        let first = group.peek("a").unwrap();
        let other = {
            let group = Arc::clone(&group);
            thread::spawn(move || matches!(group.insert("b", OPEN), Insertion::New { .. }))
        };
        let here = matches!(group.insert("c", OPEN), Insertion::New { .. });
        let other = other.join().unwrap();
        assert!(here != other, "one of them has the place");
        assert!(first.has_left());
        group.check(1);
    });
}

/// Two keys look for room, and the only breaker was used. Since it is closed, both get a breaker,
/// one after the other.
#[test]
fn a_closed_breaker_makes_room_although_it_was_used() {
    model(|| {
        let group = Group::new(1);
        group.insert("a", CLOSED);
        let first = group.use_breaker("a", Model::clone).unwrap();
        let come = |group: Arc<Group>, key: &'static str| {
            move || assert!(matches!(group.insert(key, CLOSED), Insertion::New { .. }))
        };
        let other = thread::spawn(come(Arc::clone(&group), "b"));
        come(Arc::clone(&group), "c")();
        other.join().unwrap();
        assert!(first.has_left());
        group.check(1);
    });
}

/// What a successful call relies on that has found no breaker: if the number of created breakers is
/// the same at its end, there was none to record by.
#[test]
fn a_breaker_that_is_created_during_a_call_is_noticed() {
    model(|| {
        let group = Group::new(2);
        let failed = Arc::new(AtomicU64::new(0));
        let failing = {
            let (group, failed) = (Arc::clone(&group), Arc::clone(&failed));
            thread::spawn(move || {
                group.insert("a", OPEN);
                failed.store(1, Release);
            })
        };
        let had_failed = failed.load(Acquire) == 1;
        let created = group.created.load(Acquire);
        let is_found = !group.slots.is_empty() && group.use_breaker("a", |_| ()).is_some();
        assert!(is_found || !had_failed, "an open circuit is met by the next call");
        let has_failed = failed.load(Acquire) == 1;
        let is_unchanged = group.created.load(Acquire) == created;
        if !is_found && is_unchanged {
            assert!(!has_failed, "the breaker was there before the call ended");
        }
        failing.join().unwrap();
        // And none that was counted before the lookup is missed by it.
        let created = group.created.load(Acquire);
        assert!(created == 1 && !group.slots.is_empty());
    });
}

/// A reader of the number meets the breakers that it counts.
#[test]
fn a_breaker_that_is_counted_is_found() {
    model(|| {
        let group = Group::new(2);
        let creating = {
            let group = Arc::clone(&group);
            thread::spawn(move || {
                group.insert("a", OPEN);
            })
        };
        if group.created.load(Acquire) == 1 {
            assert!(!group.slots.is_empty());
            assert!(group.use_breaker("a", |_| ()).is_some());
        }
        creating.join().unwrap();
    });
}

/// The thread that has created it takes over with the lock released; another one may be faster.
#[test]
fn a_breaker_is_used_with_the_state_that_it_takes_over() {
    model(|| {
        let group = Group::new(2);
        let create_and_use = |group: Arc<Group>| {
            move || {
                if let Insertion::New { made_with, .. } = group.insert("a", CLOSED) {
                    made_with.take_over();
                }
                let is_taken_over = |it: &Model| it.0.has_taken_over.load(Relaxed) == 1;
                assert_eq!(group.use_breaker("a", is_taken_over), Some(true));
            }
        };
        let other = thread::spawn(create_and_use(Arc::clone(&group)));
        create_and_use(Arc::clone(&group))();
        other.join().unwrap();
    });
}

/// As `Table::update` does it: first for new breakers, then for those that there are.
#[test]
fn new_settings_reach_a_breaker_that_is_created_meanwhile() {
    model(|| {
        let group = Group::new(2);
        let creating = {
            let group = Arc::clone(&group);
            thread::spawn(move || {
                group.insert("a", CLOSED);
            })
        };
        group.slots.set_settings(2);
        for breaker in group.slots.breakers() {
            breaker.0.settings.store(group.slots.settings(), Release);
        }
        creating.join().unwrap();
        let settings = group.peek("a").map(|breaker| breaker.0.settings.load(Acquire));
        assert_eq!(settings, Some(2));
    });
}
