//! What is known about an entry, and what a batch has to do with it.

use std::{sync::Arc, time::SystemTime};

use super::entry::Entry;

/// What is known about an entry's snapshot in the store. A snapshot is never overwritten before it
/// was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadState {
    /// Nothing; no attempt to read it has failed.
    Unread,
    /// Nothing; an attempt to read it has failed.
    Failed,
    /// It was adopted or kept aside, or there was none.
    Read,
    /// A newer release wrote it, so it is not overwritten.
    NewerVersion(NewerVersion),
}

/// A snapshot in a format that this release does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewerVersion {
    pub(super) version: u64,
    /// When it was found.
    pub(super) since: SystemTime,
}

/// Whether the newest state of an entry is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaveState {
    /// Yes, or it never changed.
    Clean,
    /// No.
    Dirty,
    /// A batch is about to save it.
    Saving,
    /// No, and the attempt failed.
    Failed,
}

/// What a batch has to do. The batch fills in what became of it.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub(super) struct Item {
    pub(super) entry: Arc<Entry>,
    pub(super) read: ReadState,
    /// Whether the breaker is gone.
    pub(super) is_departing: bool,
    /// Whether what the store holds of it is to be deleted. Then it is not saved.
    pub(super) is_discarded: bool,
    /// Whether an earlier attempt has failed.
    pub(super) is_retried: bool,
    /// Whether the newest state was encoded: then it is no longer marked.
    pub(super) is_encoded: bool,
    /// Whether the store has taken the state.
    pub(super) is_saved: bool,
    /// Whether this attempt has failed.
    pub(super) has_failed: bool,
}
