//! Rejections by an inner breaker around a service whose error is of any type.

use std::{
    any::{Any, TypeId},
    sync::{PoisonError, RwLock},
};

use crate::error::Error;

/// Whether an error, if it is of the type that this function knows, is a rejection.
type IsRejection = fn(&dyn Any) -> bool;

/// The types `Error<E>` for every `E` that a classifier has seen: as many as the program has such
/// types. An outer classifier gets its error as an unknown type, and cannot see that it is the
/// [`Error`] of an inner breaker. The inner classifier, whose `E` is the inner part, can.
static KNOWN: RwLock<Vec<(TypeId, IsRejection)>> = RwLock::new(Vec::new());

/// Whether this error is an inner breaker's rejection. Also remembers the error's type, for a
/// breaker further out.
pub(super) fn find<E: 'static>(error: &E) -> bool {
    let (this, outer) = (TypeId::of::<E>(), TypeId::of::<Error<E>>());
    let is_rejection: IsRejection =
        |error| matches!(error.downcast_ref::<Error<E>>(), Some(Error::Rejected(_)));
    let (found, remembered) = {
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        let of = |id| known.iter().find(|(known, _)| *known == id).map(|(_, function)| *function);
        (of(this), of(outer).is_some())
    };
    if !remembered {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|(id, _)| *id == outer) {
            known.push((outer, is_rejection));
        }
    }
    found.is_some_and(|is_rejection| is_rejection(error))
}
