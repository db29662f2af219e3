//! The errors of inner breakers around services whose error is of any type.

use std::{
    any::{Any, TypeId},
    error::Error as StdError,
    sync::{PoisonError, RwLock},
};

use super::known;
use crate::error::Error;

/// What an error of the type that this function knows holds, as one that can be searched.
type Open = for<'a> fn(&'a dyn Any) -> Option<&'a (dyn StdError + 'static)>;

/// The types `Error<E>` for every `E` that a classifier has met: as many as the program has such
/// types. An outer classifier gets its error as an unknown type, and cannot see that it is the
/// [`Error`] of an inner breaker. The inner classifier, whose `E` is the inner part, can.
static KNOWN: RwLock<Vec<(TypeId, Open)>> = RwLock::new(Vec::new());

/// Remembers the type `Error<E>`, for breakers further out.
pub(super) fn remember<E: 'static>() {
    let outer = TypeId::of::<Error<E>>();
    if find(outer).is_some() {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if !known.iter().any(|(id, _)| *id == outer) {
        known.push((outer, open::<E>));
    }
}

/// What the [`Error`] of an inner breaker holds: the rejection, or the inner error. `None` if its
/// type or that of the inner error is not known.
pub(super) fn as_cause(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    find(error.type_id())?(error)
}

fn find(id: TypeId) -> Option<Open> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|(known, _)| *known == id).map(|(_, function)| *function)
}

fn open<E: 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    match error.downcast_ref::<Error<E>>()? {
        Error::Rejected(rejected) => Some(rejected),
        Error::Inner(inner) => known::as_cause(inner).or_else(|| as_cause(inner)),
    }
}
