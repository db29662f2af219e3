//! What the state of a machine is, compared with a snapshot that is read later.

use crate::event::Reason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There has been no transition.
    New,
    /// It comes from a part of the store, and what the whole store holds may be newer. What time
    /// alone makes of it may be older, too.
    Early,
    /// There has been a transition: it is newer than any snapshot.
    Own,
}

impl Standing {
    pub(super) const fn after(self, reason: Reason) -> Self {
        if matches!(self, Self::Early) && !reason.is_own() { self } else { Self::Own }
    }
}
