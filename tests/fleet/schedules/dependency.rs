//! The dependency of the replicas, which knows of each call that reaches it.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::ledger::Moment;

#[derive(Default)]
pub(crate) struct Dependency {
    is_down: AtomicBool,
    /// When a call last failed.
    last_failure: AtomicU64,
    probes: Mutex<Vec<Probe>>,
    violations: Mutex<Vec<String>>,
}

/// A call that was admitted while the circuit was half-open.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) replica: usize,
    /// It was admitted between these moments.
    pub(crate) admitted: (Moment, Moment),
    pub(crate) ended: Moment,
}

impl Dependency {
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::SeqCst)
    }

    /// Notes a failure before the replica knows of it.
    pub(crate) fn note_failure(&self) {
        self.last_failure.fetch_max(super::now(), Ordering::SeqCst);
    }

    pub(crate) fn last_failure(&self) -> Moment {
        self.last_failure.load(Ordering::SeqCst)
    }

    pub(crate) fn note_probe(&self, probe: Probe) {
        self.probes.lock().unwrap().push(probe);
    }

    pub(crate) fn probes(&self) -> Vec<Probe> {
        self.probes.lock().unwrap().clone()
    }

    pub(crate) fn note_violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}
