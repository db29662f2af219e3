//! One breaker for each name, and the settings of all of them.

use std::{collections::BTreeMap, sync::Arc};

use smol_str::SmolStr;

use super::once_breaker::OnceBreaker;
use crate::sync::{RwLock, read, write};

/// Makes the breakers of a registry.
pub(super) trait Make {
    type Breaker: Clone;
    type Settings;
    /// What is left to do for a new breaker, without a lock.
    type Rest;

    /// Makes a breaker that has yet to be restored. It waits for nothing and runs no user code:
    /// other callers of the name wait.
    fn make(&self, name: &str, settings: &Self::Settings) -> (Self::Breaker, Self::Rest);

    /// Goes on where `make` has ended. From here on, user code may run.
    fn begin(&self, rest: &mut Self::Rest);

    /// Waits until the breaker has been restored, within bounds.
    fn await_restore(&self, breaker: &Self::Breaker);

    /// Applies new settings to a breaker that has others.
    fn apply(&self, breaker: &Self::Breaker, new: &Self::Settings, old: &Self::Settings);

    /// The breaker is complete: what happened to it meanwhile may be said.
    fn end(&self, rest: Self::Rest);
}

/// Breakers by name.
///
/// No lock is held while user code runs, which may use the registry.
pub(super) struct ByName<M: Make> {
    maker: M,
    settings: RwLock<Arc<M::Settings>>,
    /// A place is inserted before its breaker is made.
    places: RwLock<BTreeMap<SmolStr, Arc<OnceBreaker<M::Breaker>>>>,
}

impl<M: Make> ByName<M> {
    pub(super) fn new(maker: M, settings: M::Settings) -> Self {
        let (settings, places) = (RwLock::new(Arc::new(settings)), RwLock::new(BTreeMap::new()));
        Self { maker, settings, places }
    }

    pub(super) fn maker(&self) -> &M {
        &self.maker
    }

    /// The breaker of this name, which is made if there is none.
    ///
    /// A caller gets it restored, or after the time that this may take. The wait is not a part of
    /// filling the place: user code that runs while a thread makes a breaker, such as a
    /// subscriber of the log, may ask for the same one on that thread.
    pub(super) fn get_or_create(&self, name: &str) -> M::Breaker {
        let place = self.place(name);
        if let Some(breaker) = place.get() {
            return breaker;
        }
        let mut new = None;
        let breaker = place.get_or_fill(|| {
            let settings = self.settings();
            let (breaker, rest) = self.maker.make(name, &settings);
            new = Some((settings, rest));
            breaker
        });
        if let Some((settings, mut rest)) = new {
            self.maker.begin(&mut rest);
            // Also if user code that has run within it has asked for the breaker, and waited in
            // vain.
            self.maker.await_restore(&breaker);
            place.set_restored();
            self.follow(&breaker, settings);
            self.maker.end(rest);
        } else if !place.is_restored() {
            self.maker.await_restore(&breaker);
            place.set_restored();
        }
        breaker
    }

    pub(super) fn get(&self, name: &str) -> Option<M::Breaker> {
        read(&self.places).get(name)?.get()
    }

    /// All breakers in the order of their names.
    pub(super) fn all(&self) -> Vec<M::Breaker> {
        read(&self.places).values().filter_map(|place| place.get()).collect()
    }

    pub(super) fn remove(&self, name: &str) -> Option<M::Breaker> {
        let mut places = write(&self.places);
        // One that is being made stays, and the next call for the name returns the same one.
        let breaker = places.get(name)?.filled()?;
        places.remove(name);
        Some(breaker)
    }

    /// Replaces the settings of all breakers, and of those to come.
    pub(super) fn set_settings(&self, settings: M::Settings) {
        let new = Arc::new(settings);
        let old = std::mem::replace(&mut *write(&self.settings), new);
        for breaker in self.all() {
            self.follow(&breaker, Arc::clone(&old));
        }
    }

    fn place(&self, name: &str) -> Arc<OnceBreaker<M::Breaker>> {
        if let Some(place) = read(&self.places).get(name) {
            return Arc::clone(place);
        }
        Arc::clone(write(&self.places).entry(name.into()).or_default())
    }

    /// Applies the newest settings to a breaker that has those of `applied`.
    ///
    /// Whichever thread applies settings looks afterwards for newer ones, so the newest are the
    /// last.
    fn follow(&self, breaker: &M::Breaker, mut applied: Arc<M::Settings>) {
        loop {
            let newest = self.settings();
            if Arc::ptr_eq(&newest, &applied) {
                return;
            }
            self.maker.apply(breaker, &newest, &applied);
            applied = newest;
        }
    }

    fn settings(&self) -> Arc<M::Settings> {
        Arc::clone(&read(&self.settings))
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use std::sync::{
        Mutex, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use super::*;

    /// Whether the breaker can be restored, and whether a wait for that has ended well.
    #[derive(Clone, Default)]
    struct Breaker(Arc<[AtomicBool; 2]>);

    /// User code that runs while a breaker is made asks for it.
    #[derive(Default)]
    struct AsksWithin(Mutex<Weak<ByName<Self>>>);

    impl Make for AsksWithin {
        type Breaker = Breaker;
        type Settings = ();
        type Rest = Breaker;

        fn make(&self, _: &str, (): &()) -> (Breaker, Breaker) {
            let breaker = Breaker::default();
            (breaker.clone(), breaker)
        }

        fn begin(&self, rest: &mut Breaker) {
            let within = self.0.lock().unwrap().upgrade().unwrap().get_or_create("a");
            assert!(Arc::ptr_eq(&within.0, &rest.0));
            rest.0[0].store(true, SeqCst);
        }

        fn await_restore(&self, breaker: &Breaker) {
            breaker.0[1].store(breaker.0[0].load(SeqCst), SeqCst);
        }

        fn apply(&self, _: &Breaker, (): &(), (): &()) {}

        fn end(&self, _: Breaker) {}
    }

    #[test]
    fn a_caller_who_makes_a_breaker_gets_it_restored_although_it_was_asked_for_within() {
        let by_name = Arc::new(ByName::new(AsksWithin::default(), ()));
        *by_name.maker.0.lock().unwrap() = Arc::downgrade(&by_name);
        assert!(by_name.get_or_create("a").0[1].load(SeqCst));
    }
}
