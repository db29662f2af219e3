//! The name that rejections carry.
//!
//! A name of up to 23 bytes is copied. A longer one is shared, and a clone of it would count its
//! holders by a read-modify-write, on which the threads meet whose calls a circuit rejects: that
//! costs more than all else of a rejection. So the long names of the first breakers that reject
//! calls live as long as the process, and need no count. Bounded, since clients may invent them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, TryLockError},
};

use smol_str::SmolStr;

use crate::sync::OnceBox;

/// How many names live as long as the process. At most 512 bytes each: half a megabyte.
const MOST: usize = 1024;

static LASTING: LastingNames = LastingNames::new(MOST);

/// The long name of a breaker in its rejections, made for the first of them.
#[derive(Default)]
pub(super) struct RejectionName(OnceBox<SmolStr>);

impl RejectionName {
    pub(super) fn of(&self, name: &SmolStr) -> SmolStr {
        self.of_names(&LASTING, name)
    }

    fn of_names(&self, names: &LastingNames, name: &SmolStr) -> SmolStr {
        if let Some(known) = self.0.get() {
            return known.clone();
        }
        match names.get(name) {
            Some(found) => self.0.get_or_init(|| Box::new(found)).clone(),
            // The next rejection asks again.
            None => name.clone(),
        }
    }
}

struct LastingNames {
    names: Mutex<BTreeSet<&'static str>>,
    most: usize,
}

impl LastingNames {
    const fn new(most: usize) -> Self {
        Self { names: Mutex::new(BTreeSet::new()), most }
    }

    /// The name without a count, or the same with one if there is no room. `None` while another
    /// thread asks for a name.
    fn get(&self, name: &SmolStr) -> Option<SmolStr> {
        let mut names = match self.names.try_lock() {
            Ok(names) => names,
            Err(TryLockError::Poisoned(names)) => names.into_inner(),
            // Not worth a wait. In a forked process, it may be locked for good.
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some(known) = names.get(name.as_str()) {
            return Some(SmolStr::new_static(known));
        }
        if names.len() >= self.most {
            return Some(name.clone());
        }
        let lasting: &'static str = Box::leak(name.as_str().into());
        names.insert(lasting);
        Some(SmolStr::new_static(lasting))
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;
    use crate::handle::Breaker;

    fn long(number: usize) -> SmolStr {
        format!("upstream:{number}.a-long-name.example.com").into()
    }

    #[test]
    fn a_rejection_shares_no_count_of_a_long_name() {
        let breaker = Breaker::builder(long(0)).build().unwrap();
        breaker.force_open();
        for _ in 0..2 {
            let rejected = breaker.try_acquire().unwrap_err();
            assert!(!rejected.has_counted_name());
            drop(breaker.clone());
            assert_eq!(rejected.name(), long(0));
        }
    }

    #[test]
    fn names_that_last_are_bounded_and_known_again() {
        let names = LastingNames::new(2);
        let is_counted = |number| {
            let name = names.get(&long(number)).unwrap();
            assert_eq!(name, long(number));
            name.is_heap_allocated()
        };
        assert_eq!([0, 1, 2, 0, 1, 2].map(is_counted), [false, false, true, false, false, true]);
    }

    #[test]
    fn a_name_that_met_another_one_is_counted_only_then() {
        let (names, name) = (LastingNames::new(1), RejectionName::default());
        let is_counted = || name.of_names(&names, &long(0)).is_heap_allocated();
        let locked = names.names.lock().unwrap();
        assert!(is_counted(), "it does not wait");
        drop(locked);
        assert!(!is_counted());
        let _locked = names.names.lock().unwrap();
        assert!(!is_counted(), "it is known");
    }
}
