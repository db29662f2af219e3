//! The errors of inner breakers around services whose error is of any type.

use std::{
    any::{Any, TypeId},
    error::Error as StdError,
    sync::{PoisonError, RwLock},
};

use super::known;
use crate::error::Error;

/// Returns the error as one that can be searched, if it is of the type that this function knows.
type AsCause = for<'a> fn(&'a dyn Any) -> Option<&'a (dyn StdError + 'static)>;

/// The types `Error<E>` for every `E` that a classifier has met: as many as the program has such
/// types. An outer classifier gets its error as an unknown type, and cannot see that it is the
/// [`Error`] of an inner breaker. The inner classifier, whose `E` is the inner part, can.
static KNOWN: RwLock<Vec<(TypeId, AsCause)>> = RwLock::new(Vec::new());

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

/// What this error holds, if it is the [`Error`] of an inner breaker and its type is known: the
/// rejection or, if it can be searched, the inner error. The outer option says whether it is known.
pub(super) fn as_cause(error: &dyn Any) -> Option<Option<&(dyn StdError + 'static)>> {
    find(error.type_id()).map(|open| open(error))
}

fn find(id: TypeId) -> Option<AsCause> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|(known, _)| *known == id).map(|(_, function)| *function)
}

fn open<E: 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    match error.downcast_ref::<Error<E>>()? {
        Error::Rejected(rejected) => Some(rejected),
        Error::Inner(inner) => known::as_cause(inner).or_else(|| as_cause(inner)?),
    }
}
