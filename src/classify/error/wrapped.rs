//! The errors of inner breakers around services whose error is of any type.

use std::{
    any::{Any, TypeId, type_name},
    cell::Cell,
    error::Error as StdError,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::known;
use crate::error::Error;

/// What the [`Error`] of an inner breaker holds.
pub(super) enum Opened<'a> {
    /// The rejection, or an inner error that can be searched.
    Cause(&'a (dyn StdError + 'static)),
    /// An inner error that cannot: not a rejection.
    Opaque,
    /// The type is not known.
    Unknown,
}

/// Opens an error of the type that this function knows.
type Open = for<'a> fn(&'a dyn Any) -> Opened<'a>;

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
            known.push((outer, open_known::<E>));
            NUMBER.store(known.len(), Ordering::Release);
        }
    }
    LAST.set(Some(TypeId::of::<E>()));
}

/// Opens the [`Error`] of an inner breaker.
pub(super) fn open(error: &dyn Any) -> Opened<'_> {
    find(error.type_id()).map_or(Opened::Unknown, |open| open(error))
}

/// What it holds, if that can be searched.
#[cfg(feature = "http")]
pub(super) fn as_cause(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    match open(error) {
        Opened::Cause(cause) => Some(cause),
        Opened::Opaque | Opened::Unknown => None,
    }
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

fn open_known<E: 'static>(error: &dyn Any) -> Opened<'_> {
    match error.downcast_ref::<Error<E>>() {
        None => Opened::Unknown,
        Some(Error::Rejected(rejected)) => Opened::Cause(rejected),
        Some(Error::Inner(inner)) => match known::as_cause(inner) {
            Some(cause) => Opened::Cause(cause),
            None => open_inner(inner),
        },
    }
}

/// The error may be the [`Error`] of a breaker still further in, perhaps of a type that no
/// classifier has met. If not, it is no rejection.
fn open_inner<E: 'static>(inner: &E) -> Opened<'_> {
    match open(inner) {
        Opened::Unknown if !is_error_of_a_breaker::<E>() => Opened::Opaque,
        opened => opened,
    }
}

/// Whether the type is some `Error<_>`. Its name tells: the type within it is not known here.
fn is_error_of_a_breaker<E>() -> bool {
    let path = type_name::<Error<()>>().split('<').next();
    path.and_then(|path| type_name::<E>().strip_prefix(path))
        .is_some_and(|end| end.starts_with('<'))
}
