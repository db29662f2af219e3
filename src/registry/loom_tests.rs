//! The breakers of a registry under loom: every interleaving of a few threads, up to three
//! preemptions.
//!
//! `.ci/loom` runs them.
//!
//! The breakers are models: their own concurrency is checked by the models of `breaker`.

use std::sync::Arc;

use loom::thread;

use super::by_name::{ByName, Make};
use crate::sync::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Counts how many breakers were made, and are gone.
#[derive(Clone)]
struct Maker(Arc<Counts>);

struct Counts {
    made: AtomicU64,
    gone: AtomicU64,
    ended: AtomicU64,
}

#[derive(Clone)]
struct Model(Arc<ModelState>);

struct ModelState {
    settings: AtomicU64,
    is_restored: AtomicU64,
    counts: Arc<Counts>,
}

impl Drop for ModelState {
    fn drop(&mut self) {
        self.counts.gone.fetch_add(1, AcqRel);
    }
}

impl Model {
    fn settings(&self) -> u64 {
        self.0.settings.load(Acquire)
    }

    fn is_restored(&self) -> bool {
        self.0.is_restored.load(Acquire) == 1
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Make for Maker {
    type Breaker = Model;
    type Settings = u64;
    type Rest = Model;

    fn make(&self, _: &str, settings: &u64) -> (Model, Model) {
        self.0.made.fetch_add(1, AcqRel);
        let [settings, is_restored] = [*settings, 0].map(AtomicU64::new);
        let model = Model(Arc::new(ModelState { settings, is_restored, counts: self.0.clone() }));
        (model.clone(), model)
    }

    fn begin(&self, _: &mut Model) {}

    fn await_restore(&self, breaker: &Model) {
        breaker.0.is_restored.store(1, Release);
    }

    fn apply(&self, breaker: &Model, new: &u64, _: &u64) {
        breaker.0.settings.store(*new, Release);
    }

    fn end(&self, rest: Model) {
        assert!(rest.is_restored(), "what is said of a breaker comes after its restore");
        self.0.ended.fetch_add(1, AcqRel);
    }
}

type Registry = ByName<Maker>;

fn registry() -> (Arc<Registry>, Maker) {
    let [made, gone, ended] = [0; 3].map(AtomicU64::new);
    let maker = Maker(Arc::new(Counts { made, gone, ended }));
    (Arc::new(ByName::new(maker.clone(), 1)), maker)
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(check);
}

fn creating(registry: &Arc<Registry>) -> thread::JoinHandle<Model> {
    let registry = Arc::clone(registry);
    thread::spawn(move || {
        let breaker = registry.get_or_create("a");
        assert!(breaker.is_restored(), "the first call meets the restored state");
        breaker
    })
}

#[test]
fn two_callers_that_ask_for_a_name_get_the_same_restored_breaker() {
    model(|| {
        let (registry, maker) = registry();
        let other = creating(&registry);
        let here = registry.get_or_create("a");
        assert!(here.is_restored());
        assert!(here.is(&other.join().unwrap()));
        assert!(here.is(&registry.get("a").unwrap()));
        assert_eq!(maker.0.made.load(Relaxed), 1);
        assert_eq!(maker.0.ended.load(Relaxed), 1);
    });
}

/// Who finds a breaker finds it restored.
#[test]
fn a_breaker_is_seen_once_it_has_been_restored() {
    model(|| {
        let (registry, _) = registry();
        let other = creating(&registry);
        assert!(registry.get("a").is_none_or(|it| it.is_restored()));
        assert!(registry.all().iter().all(Model::is_restored));
        other.join().unwrap();
        assert_eq!(registry.all().len(), 1);
    });
}

#[test]
fn a_breaker_that_is_created_during_a_reload_has_the_new_settings() {
    model(|| {
        let (registry, _) = registry();
        let other = creating(&registry);
        registry.set_settings(2);
        assert_eq!(other.join().unwrap().settings(), 2);
    });
}

#[test]
fn reloads_at_once_end_with_the_newest_settings() {
    model(|| {
        let (registry, _) = registry();
        let breaker = registry.get_or_create("a");
        let other = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || registry.set_settings(2))
        };
        registry.set_settings(3);
        other.join().unwrap();
        // Whichever came last: a new breaker gets the newest.
        assert_eq!(breaker.settings(), registry.get_or_create("b").settings());
    });
}

/// A name is removed and its last handle dropped while another thread asks for it.
#[test]
fn a_breaker_that_is_removed_goes_with_its_last_handle() {
    model(|| {
        let (registry, maker) = registry();
        let other = creating(&registry);
        let is_removed = registry.remove("a").is_some();
        let created = other.join().unwrap();
        let again = registry.get_or_create("a");
        let made = maker.0.made.load(Acquire);
        assert_eq!(again.is(&created), !is_removed, "one that is being made is not removed");
        assert_eq!(made, if is_removed { 2 } else { 1 });
        assert_eq!(maker.0.gone.load(Acquire), 0, "there are handles");
        drop(created);
        assert_eq!(maker.0.gone.load(Acquire), made - 1, "the registry holds the other one");
        drop((again, registry));
        assert_eq!(maker.0.gone.load(Acquire), made);
    });
}
