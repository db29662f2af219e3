//! What happens to a key for which there is no room: the group is full, and none of its breakers
//! can be evicted (`replacement`).

/// What happens to the calls of a new key when a group is full of breakers that cannot be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// They are admitted and not recorded, and counted in
    /// [`KeyedBreakers::unrecorded_calls`](super::KeyedBreakers::unrecorded_calls).
    #[default]
    Pass,
    /// They all go by one breaker, which has the name of the group, with `:` written as `%3A` and
    /// `%` as `%25`.
    ///
    /// A client that invents keys whose calls fail opens it, and so shuts out every key that has no
    /// breaker, healthy ones too. And while the group is full, each call of such a key takes a lock
    /// of the group, to look for a breaker that can be replaced.
    Share,
}
