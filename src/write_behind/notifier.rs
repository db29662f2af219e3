//! Calls the listeners of a store's breakers where the writer's thread cannot: while it waits for a
//! call that does not return, or for the thread that builds a breaker.
//!
//! A listener may block. So no thread calls one that drops a breaker or that watches other stores:
//! a thread of its own does, which ends once there is nothing left to deliver.

use std::sync::{Arc, Mutex};

use super::{
    entry::Entry,
    inbox::Inbox,
    threads::{self, Process},
};
use crate::sync::std_lock;

/// What is to be delivered.
#[derive(Default)]
pub(super) struct Notifier(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    /// The health to every breaker on the store.
    to_all: bool,
    /// The health to these.
    to: Vec<Arc<Entry>>,
    /// The process whose thread delivers. A forked process inherits this, but not the thread.
    runs_in: Option<Process>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.to_all && self.to.is_empty()
    }
}

impl Inbox {
    /// Has the listeners of this breaker, or of every one, hear of the health. `false` if no thread
    /// could be started: it is tried again with the next event, or done by the writer's thread.
    pub(super) fn notify(&self, entry: Option<&Arc<Entry>>) -> bool {
        let mut pending = std_lock(&self.notifier.0);
        match entry {
            Some(entry) => pending.to.push(Arc::clone(entry)),
            None => pending.to_all = true,
        }
        let process = Process::current();
        if pending.runs_in == Some(process) {
            return true;
        }
        let Some(inbox) = self.own.upgrade() else { return false };
        let started = threads::spawn("breaker-events", move || inbox.run_notifier()).is_ok();
        if started {
            pending.runs_in = Some(process);
        }
        started
    }

    /// Delivers what no thread could be started for. For the writer's thread.
    pub(super) fn deliver_pending(&self) {
        let mut pending = std_lock(&self.notifier.0);
        if !pending.is_empty() && pending.runs_in.is_none() {
            let left = std::mem::take(&mut *pending);
            drop(pending);
            self.deliver(&left);
        }
    }

    fn run_notifier(&self) {
        loop {
            let mut pending = std_lock(&self.notifier.0);
            if pending.is_empty() {
                pending.runs_in = None;
                return;
            }
            let runs_in = pending.runs_in;
            let next = std::mem::replace(&mut *pending, Pending { runs_in, ..Pending::default() });
            drop(pending);
            self.deliver(&next);
        }
    }

    fn deliver(&self, pending: &Pending) {
        if pending.to_all {
            self.tell_all();
        } else {
            pending.to.iter().for_each(|entry| self.tell_here(entry));
        }
    }
}
