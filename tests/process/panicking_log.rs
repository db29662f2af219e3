//! A subscriber of the log that panics, in a process of its own: it applies to all threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tower_breaker::{Breaker, StateStore, store::StoreHealth};

use crate::support::{
    child::{Role, RoleResult, say},
    sick_store::{SickStore, Symptom},
    wait::holds_in_time,
};

pub(crate) const LOGGER: &str = "panicking-log";

/// Panics at each event of this crate, without a message on the terminal.
struct Panicking(Arc<AtomicUsize>);

impl tracing::Subscriber for Panicking {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_breaker")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, SeqCst);
        std::panic::resume_unwind(Box::new("the subscriber"));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The role: a store fails, heals, and is used by two breakers of one name.
pub(crate) fn log_all() -> RoleResult {
    let events = Arc::new(AtomicUsize::new(0));
    tracing::subscriber::set_global_default(Panicking(Arc::clone(&events)))?;
    let sick = SickStore::around(Arc::new(tower_breaker::MemoryStore::new()));
    let store: Arc<dyn StateStore> = Arc::new(sick.clone());
    let breaker = Breaker::builder("payments").store(Arc::clone(&store)).build()?;
    sick.show(Symptom::Fails);
    breaker.force_open();
    let degrades = || matches!(breaker.store_health(), StoreHealth::Degraded { .. });
    say(&format!("degraded: {}", holds_in_time(degrades)));
    sick.heal();
    let flushed = holds_in_time(|| breaker.flush_blocking(Duration::from_secs(10)).is_ok());
    say(&format!("saved: {flushed}"));
    // The first one is superseded, and owns the name again.
    let second = Breaker::builder("payments").store(store).build()?;
    drop(second);
    breaker.reset();
    let flushed = holds_in_time(|| breaker.flush_blocking(Duration::from_secs(10)).is_ok());
    say(&format!("saved again: {flushed}"));
    say(&format!("several events: {}", events.load(SeqCst) > 3));
    Ok(())
}

#[test]
fn a_log_subscriber_that_panics_does_not_end_persistence() {
    let mut process = Role::new(LOGGER).start();
    let lines: Vec<_> = std::iter::from_fn(|| process.line()).collect();
    assert_eq!(
        lines,
        ["degraded: true", "saved: true", "saved again: true", "several events: true"]
    );
}
