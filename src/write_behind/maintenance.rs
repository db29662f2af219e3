//! What the writer does when no caller waits: reads ahead, trims histories that have grown,
//! [sweeps](super::sweep), and verifies a store that is not called otherwise. A little at a time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    client::StoreClient,
    config::WriteBehindConfig,
    entry::Entry,
    keys,
    pending_history::{HISTORY_LIMIT, PendingHistory},
    preload::Preload,
    record,
    refresh::RefreshTimer,
    sweep::{MarkEntries, Sweep, VisitEntries},
};
use crate::{clock::wall, store::StoreError, sync::log};

pub(super) struct Maintenance {
    /// Entries whose histories have to be trimmed.
    to_trim: VecDeque<Arc<Entry>>,
    sweep: Option<Sweep>,
    next_sweep: Option<Instant>,
    sweep_interval: Duration,
    verify_interval: Duration,
    /// `None`: the store does not expire anything.
    refresh: Option<RefreshTimer>,
    /// When the writer began, by both clocks.
    began: (Instant, SystemTime),
}

impl Maintenance {
    pub(super) fn new(config: &WriteBehindConfig, client: &StoreClient) -> Self {
        let now = Instant::now();
        Self {
            to_trim: VecDeque::new(),
            sweep: None,
            next_sweep: now.checked_add(config.first_sweep),
            sweep_interval: config.sweep_interval,
            verify_interval: config.verify_interval,
            refresh: client.expires_by_itself().then(|| RefreshTimer::new(now)),
            began: (now, wall()),
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self, client: &StoreClient, preload: &Preload) -> Option<Instant> {
        if !self.to_trim.is_empty() || self.sweep.is_some() {
            return Some(Instant::now());
        }
        let next_verify = client.last_call().checked_add(self.verify_interval);
        let refresh = self.refresh_due(client);
        preload.due().into_iter().chain(self.next_sweep).chain(next_verify).chain(refresh).min()
    }

    fn refresh_due(&self, client: &StoreClient) -> Option<Instant> {
        self.refresh.as_ref()?.due(client.soonest_refresh())
    }

    pub(super) fn trim_later(&mut self, entries: Vec<Arc<Entry>>) {
        self.to_trim.extend(entries);
    }

    /// Does what must not wait until the writer has nothing else to do: with batches that follow
    /// each other at once, histories would grow without end, and threads that build breakers one
    /// by one would keep the writer from reading ahead for them.
    pub(super) fn step_between_batches(
        &mut self,
        client: &StoreClient,
        preload: &Preload,
    ) -> Result<(), StoreError> {
        self.trim_one(client)?;
        preload.step(client)?;
        Ok(())
    }

    /// Does a little.
    pub(super) fn step(
        &mut self,
        client: &StoreClient,
        preload: &Preload,
        entries: &(impl VisitEntries + MarkEntries),
    ) -> Result<(), StoreError> {
        if self.refresh_due(client).is_some_and(|due| due <= Instant::now()) {
            self.refresh(client, entries);
            return Ok(());
        }
        if preload.step(client)? || self.trim_one(client)? {
            return Ok(());
        }
        let now = Instant::now();
        if let Some(sweep) = &mut self.sweep {
            let step = sweep.step(client, preload, entries);
            if !matches!(step, Ok(true)) {
                self.sweep = None;
            }
            step.inspect_err(|error| {
                log(|| {
                    tracing::debug!(
                        target: "tower_breaker", %error,
                        "sweep of expired data interrupted: continuing with the next one",
                    );
                });
            })?;
        } else if self.next_sweep.is_some_and(|due| due <= now) {
            self.next_sweep = now.checked_add(self.sweep_interval);
            let is_whole = client.needs_sweep();
            self.sweep = Some(Sweep::new(self.wall_clock(), entries, is_whole));
        } else if now.saturating_duration_since(client.last_call()) >= self.verify_interval {
            client.verify()?;
        }
        Ok(())
    }

    /// Marks the entries that are saved, and whose snapshots have passed half of their life.
    fn refresh(&mut self, client: &StoreClient, entries: &(impl VisitEntries + MarkEntries)) {
        let began = Instant::now();
        let mut due = Vec::new();
        let soonest = client.soonest_refresh();
        soonest.forget();
        entries.visit_entries(&mut |entry| {
            if !entry.is_suspended() && entry.refresh_at().take_due() {
                due.push(Arc::clone(entry));
            } else {
                soonest.note(entry.refresh_at());
            }
        });
        if let Some(timer) = &mut self.refresh {
            timer.rest(began);
        }
        for entry in due {
            entries.mark_counts(&entry);
        }
    }

    /// The time, but no later than it can be by what has passed since the writer began: a wall
    /// clock that jumps forward makes nothing expire.
    fn wall_clock(&self) -> SystemTime {
        let (began, wall_then) = self.began;
        let now = wall();
        wall_then.checked_add(began.elapsed()).map_or(now, |passed| passed.min(now))
    }

    /// Trims a history that has grown. Returns whether there was one.
    fn trim_one(&mut self, client: &StoreClient) -> Result<bool, StoreError> {
        let Some(entry) = self.to_trim.pop_front() else { return Ok(false) };
        let days = entry
            .settings()
            .map_or(record::DEFAULT_RETENTION_DAYS, |settings| settings.history_retention_days);
        let newest = entry.with_history(|history| history.newest()).flatten().unwrap_or(0);
        // The breaker's own clock may differ from the machine's.
        let oldest = record::oldest_kept(newest.min(record::id_at(wall())), days);
        // If this attempt fails, the next one does the work of both.
        entry.with_history(PendingHistory::trimmed);
        let key = keys::history(entry.name());
        client.trim(&key, oldest, HISTORY_LIMIT).inspect_err(|error| {
            log(|| {
                tracing::debug!(
                    target: "tower_breaker", key, %error,
                    "history not trimmed: trying again when it has grown further",
                );
            });
        })?;
        Ok(true)
    }
}
