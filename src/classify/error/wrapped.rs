//! The errors of inner breakers around services whose error is of any type.

use std::{
    any::{Any, TypeId},
    cell::Cell,
    error::Error as StdError,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::known;
use crate::error::Error;

/// What an error of the type that this function knows holds, as one that can be searched.
type Open = for<'a> fn(&'a dyn Any) -> Option<&'a (dyn StdError + 'static)>;

/// The types `Error<E>` for every `E` that a classifier has met: as many as the program has such
/// types. An outer classifier gets its error as an unknown type, and cannot see that it is the
/// [`Error`] of an inner breaker. The inner classifier, whose `E` is the inner part, can.
static KNOWN: RwLock<Vec<(TypeId, Open)>> = RwLock::new(Vec::new());

thread_local! {
    /// The type `E` that a classifier of this thread has remembered last. The lock above costs more
    /// than all else that a failure takes, and most often one type of error follows another.
    static LAST: Cell<Option<TypeId>> = const { Cell::new(None) };

    /// A type that was not known when this number of types was.
    static UNKNOWN: Cell<Option<(TypeId, usize)>> = const { Cell::new(None) };
}

/// The number of known types.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Remembers the type `Error<E>`, for breakers further out.
#[inline]
pub(super) fn remember<E: 'static>() {
    if LAST.get() != Some(TypeId::of::<E>()) {
        remember_slow::<E>();
    }
}

#[cold]
fn remember_slow<E: 'static>() {
    let outer = TypeId::of::<Error<E>>();
    if find(outer).is_none() {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|(id, _)| *id == outer) {
            known.push((outer, open::<E>));
            NUMBER.store(known.len(), Ordering::Release);
        }
    }
    LAST.set(Some(TypeId::of::<E>()));
}

/// What the [`Error`] of an inner breaker holds: the rejection, or the inner error. `None` if its
/// type or that of the inner error is not known.
pub(super) fn as_cause(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    find(error.type_id())?(error)
}

fn find(id: TypeId) -> Option<Open> {
    if UNKNOWN.get() == Some((id, NUMBER.load(Ordering::Acquire))) {
        return None;
    }
    find_slow(id)
}

#[cold]
fn find_slow(id: TypeId) -> Option<Open> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().find(|(known, _)| *known == id).map(|(_, function)| *function);
    if found.is_none() {
        UNKNOWN.set(Some((id, known.len())));
    }
    found
}

fn open<E: 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    match error.downcast_ref::<Error<E>>()? {
        Error::Rejected(rejected) => Some(rejected),
        Error::Inner(inner) => known::as_cause(inner).or_else(|| as_cause(inner)),
    }
}
