//! Which breaker a request goes by.

use smol_str::SmolStr;

use crate::registry::KeyedBreakers;

/// The breakers, and which one a request goes by.
#[derive(Clone)]
pub(super) struct Selector<K> {
    pub(super) breakers: KeyedBreakers,
    pub(super) extract: K,
    /// The key of requests that have none.
    pub(super) default_key: Option<SmolStr>,
}
