//! A breaker as the writer of its store sees it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::events::EventDispatcher;
use crate::{
    breaker::window::WindowCopies,
    config::Config,
    event::{Event, StoreEvent},
    health::StoreHealth,
    snapshot::{Snapshot, SnapshotError},
    write_behind::{
        EncodedSnapshot, Part, RestoreError, SaveSettings, SnapshotBase, SnapshotSource, TakeOver,
        warn_older_counts,
    },
};

/// The part of a configuration that concerns the store.
pub(super) const fn save_settings(config: &Config) -> SaveSettings {
    SaveSettings {
        flush_interval: config.flush_interval,
        transition_flush_interval: config.transition_flush_interval,
        history_retention_days: config.history_retention_days,
    }
}

/// How long a large snapshot is continued at most.
const CONTINUED_FOR: Duration = Duration::from_secs(300);

/// Encodes everything. If that is large, others may continue it.
fn encode_whole(copies: &WindowCopies, snapshot: &mut Snapshot) -> Option<EncodedSnapshot> {
    copies.encode_into(&mut snapshot.windows);
    snapshot.pack();
    let ttl = snapshot.ttl();
    let value = snapshot.to_json().ok()?;
    if !copies.are_large() || !Snapshot::is_large(value.len()) {
        return Some(EncodedSnapshot::whole(value.into_bytes(), ttl));
    }
    let id = fastrand::u64(..);
    snapshot.id = Some(id);
    let value = snapshot.to_json().ok()?.into_bytes();
    let continued_for = ttl.map_or(CONTINUED_FOR, |ttl| (ttl / 4).min(CONTINUED_FOR));
    let until = Instant::now() + continued_for;
    let base = SnapshotBase { id, positions: copies.positions(), until };
    Some(EncodedSnapshot { value, ttl, part: Part::Base(Arc::new(base)) })
}

impl EventDispatcher {
    fn restore_with(
        &self,
        bytes: &[u8],
        complete: impl FnOnce(Snapshot) -> Snapshot,
    ) -> Result<(), RestoreError> {
        match Snapshot::from_json(bytes) {
            Ok(snapshot) => {
                self.cell.restore(self, &complete(snapshot));
                Ok(())
            }
            Err(SnapshotError::NewerVersion(version)) => Err(RestoreError::NewerVersion(version)),
            Err(SnapshotError::Corrupt(reason)) => {
                let adopted = Snapshot::from_damaged(bytes).map(|snapshot| {
                    self.cell.restore(self, &snapshot);
                    snapshot.state
                });
                Err(RestoreError::Corrupt { reason, adopted })
            }
        }
    }
}

/// It checks that the cell is still its own: a hung store may respond after the breaker is gone
/// and another breaker has taken over the cell.
impl SnapshotSource for EventDispatcher {
    fn encode(&self) -> Option<EncodedSnapshot> {
        self.with_copies(|copies| {
            let mut snapshot = self.cell.snapshot_to_save(self, copies)?;
            encode_whole(copies, &mut snapshot)
        })
    }

    fn encode_since(&self, base: &SnapshotBase) -> Option<EncodedSnapshot> {
        self.with_copies(|copies| {
            let mut snapshot = self.cell.snapshot_to_save(self, copies)?;
            let continues = Instant::now() < base.until
                && copies.encode_since(&base.positions, &mut snapshot.windows);
            if !continues {
                return encode_whole(copies, &mut snapshot);
            }
            snapshot.continues = Some(base.id);
            let value = snapshot.to_json().ok()?.into_bytes();
            Some(EncodedSnapshot { value, ttl: snapshot.ttl(), part: Part::Continuation })
        })
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.restore_with(bytes, |snapshot| snapshot)
    }

    fn restore_parsed(&self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        self.cell.restore(self, snapshot);
        Ok(())
    }

    fn restore_continued(&self, bytes: &[u8], continuation: &[u8]) -> Result<(), RestoreError> {
        self.restore_with(bytes, |snapshot| match Snapshot::from_json(continuation) {
            Ok(continuation) => snapshot.continued_by(continuation),
            Err(error) => {
                warn_older_counts(&self.name, &error);
                snapshot
            }
        })
    }

    fn restore_early(&self, bytes: &[u8]) -> bool {
        let snapshot = Snapshot::from_json(bytes);
        if let Ok(snapshot) = &snapshot {
            self.cell.restore_early(self, snapshot);
        }
        snapshot.is_ok()
    }

    fn take_over(&self, take_over: &TakeOver<'_>) {
        let TakeOver { state, gone_since, is_newer, is_wanted } = *take_over;
        if let Ok(state) = Snapshot::from_json(state) {
            self.cell.take_over(self, &state, gone_since, is_newer, is_wanted);
        }
    }

    fn settings(&self) -> SaveSettings {
        let own = self.cell.inspect_owned(self, |machine, _| save_settings(machine.config()));
        own.unwrap_or_else(|| save_settings(&Config::default()))
    }

    fn has_listeners(&self) -> bool {
        self.is_listened_to()
    }

    fn store_health(&self, health: &StoreHealth) {
        self.dispatch(Event::Store(StoreEvent {
            name: self.name.as_str().into(),
            health: health.clone(),
        }));
    }
}
