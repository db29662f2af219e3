//! A key without a breaker, as a call has found it.

use std::{any::Any, sync::Arc};

use super::{anchor::Anchored, call_key::CallKey};
use crate::breaker::nesting::key_mark::KeyMark;

/// A key that has no breaker, and its group.
pub(crate) struct Missing {
    pub(super) key: CallKey,
    pub(super) group: Anchored,
    pub(super) mark: KeyMark,
}

impl Missing {
    /// By which a call of the same key further in is recognized.
    pub(crate) fn mark(&self) -> KeyMark {
        self.mark
    }

    /// Whether the group is still there, and no breaker was created since the key was looked up.
    #[inline]
    pub(crate) fn is_unchanged(&self) -> bool {
        self.group.is_unchanged()
    }

    /// The group, if it is still there.
    pub(super) fn group<G: Any + Send + Sync>(&self) -> Option<Arc<G>> {
        self.group.group()
    }
}
