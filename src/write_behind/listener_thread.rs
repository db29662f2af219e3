//! What has to be delivered to listeners where the writer's thread cannot call them: while it waits
//! for a call that does not return, or for the thread that builds a breaker.
//!
//! A listener may block. So no thread calls one that drops a breaker or that watches other stores:
//! a thread of its own does, which ends once there is nothing left to deliver.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::entry::Entry;
use crate::{process::Process, sync::std_lock};

#[derive(Default)]
pub(super) struct ListenerThread {
    state: Mutex<ThreadState>,
    /// Nothing is left to deliver.
    done: Condvar,
}

#[derive(Default)]
struct ThreadState {
    pending: Pending,
    /// The process whose thread delivers. A forked process inherits this, but not the thread.
    runs_in: Option<Process>,
}

/// Whose listeners are still to be called about the store's health.
#[derive(Default)]
pub(super) struct Pending {
    /// Every breaker on the store.
    pub(super) to_all: bool,
    /// These.
    pub(super) to: Vec<Arc<Entry>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.to_all && self.to.is_empty()
    }
}

impl ListenerThread {
    /// Adds this breaker, or every one, and has the thread started if there is none. Returns
    /// whether there is one.
    pub(super) fn add(&self, entry: Option<&Arc<Entry>>, start: impl FnOnce() -> bool) -> bool {
        let mut state = std_lock(&self.state);
        match entry {
            Some(entry) => state.pending.to.push(Arc::clone(entry)),
            None => state.pending.to_all = true,
        }
        let process = Process::current();
        if state.runs_in != Some(process) {
            state.runs_in = start().then_some(process);
        }
        state.runs_in.is_some()
    }

    /// For the thread: what to deliver next. `None`: it ends.
    pub(super) fn next(&self) -> Option<Pending> {
        let mut state = std_lock(&self.state);
        if state.pending.is_empty() {
            state.runs_in = None;
            self.done.notify_all();
            return None;
        }
        Some(std::mem::take(&mut state.pending))
    }

    /// Waits until everything is delivered, but no longer than `timeout`: a listener may block.
    pub(super) fn wait(&self, timeout: Duration) {
        let process = Process::current();
        let is_busy = |state: &mut ThreadState| state.runs_in == Some(process);
        let waited = self.done.wait_timeout_while(std_lock(&self.state), timeout, is_busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// What no thread could be started for.
    pub(super) fn take_left(&self) -> Option<Pending> {
        let mut state = std_lock(&self.state);
        let is_left = !state.pending.is_empty() && state.runs_in.is_none();
        is_left.then(|| std::mem::take(&mut state.pending))
    }
}
