//! The order of a breaker's states.

/// Orders the states of one breaker in a fleet: by the number, then by the token.
///
/// The default is older than every state that a server has given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fence {
    pub(crate) number: u64,
    /// Random, so that two states with one number differ: a server that has forgotten the newest
    /// states gives their numbers again.
    pub(crate) token: u64,
}

impl Fence {
    /// The oldest: no state of a fleet is known.
    pub(crate) const NONE: Self = Self { number: 0, token: 0 };
}
