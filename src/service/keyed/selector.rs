//! Which breaker a request goes by.

use smol_str::SmolStr;

use super::key::ExtractKey;
use crate::{
    breaker::{
        Permit,
        nesting::{is_any_running, is_nested, key_mark::KeyMark},
    },
    error::Rejected,
    handle::Breaker,
    registry::{Found, KeyedBreakers, Missing},
};

/// The breakers, and which one a request goes by.
#[derive(Clone)]
pub(in crate::service) struct Selector<K> {
    pub(in crate::service) breakers: KeyedBreakers,
    pub(in crate::service) extract: K,
    /// The key of requests that have none.
    pub(in crate::service) default_key: Option<SmolStr>,
}

/// How a call was admitted.
pub(in crate::service) enum KeyedAdmission {
    ByBreaker(Permit),
    WithoutBreaker(Missing),
    Unrecorded,
    /// Unrecorded, because the group is full: further in, it is recognized by its key.
    WithoutRoom(KeyMark),
}

impl<K> Selector<K> {
    /// Admits a call. `can_wait`: whether a key may be without a breaker until a call fails.
    #[inline]
    pub(in crate::service) fn admit<Request>(
        &self,
        request: &Request,
        can_wait: bool,
    ) -> Result<KeyedAdmission, Rejected>
    where
        K: ExtractKey<Request>,
    {
        let Self { breakers, extract, default_key } = self;
        let key = extract.extract_key(request);
        let Some(key) = key.as_deref().or(default_key.as_deref()) else {
            return Ok(KeyedAdmission::Unrecorded);
        };
        let admit = |breaker: &Breaker| admit_by(breaker, || breakers.mark_of(key).is_running());
        match breakers.find(key, can_wait, admit) {
            Found::Breaker(admitted) => admitted.map(KeyedAdmission::ByBreaker),
            Found::OnFailure(missing) if missing.mark().is_running() => {
                Ok(KeyedAdmission::Unrecorded)
            }
            Found::OnFailure(missing) => Ok(KeyedAdmission::WithoutBreaker(missing)),
            Found::Unrecorded => Ok(KeyedAdmission::WithoutRoom(breakers.mark_of(key))),
        }
    }
}

/// `is_key_running`: asked whether a call further out has begun before the key had a breaker.
#[inline]
fn admit_by(breaker: &Breaker, is_key_running: impl FnOnce() -> bool) -> Result<Permit, Rejected> {
    let cell = breaker.cell();
    if is_any_running() && (is_nested(cell) || is_key_running()) {
        return Ok(Permit::void_of(cell));
    }
    Permit::try_acquire(cell).map_err(|refusal| breaker.reject(refusal))
}
