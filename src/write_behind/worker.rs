//! The writer's thread: the only one that calls the store, but for the one that finds the
//! [names](super::names) of stored breakers at the start.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    batch::{self, BatchReport},
    client::{Monitor, StoreClient},
    config::WriteBehindConfig,
    content::{Batch, Lifecycle, NewEntry},
    entries::EntryId,
    entry::Entry,
    gauges::GaugeTimer,
    health::{Announcement, Instants, Report},
    inbox::{Inbox, Work},
    inboxes::{self, Joined},
    keys,
    known_store::KnownStore,
    maintenance::Maintenance,
    request::{Wanted, WriterRequest},
    source::{SaveSettings, SnapshotSource},
    states::Item,
    watchdog::{self, PATIENCE},
};
use crate::{
    error::FlushError,
    history::{HistoryCursor, HistoryQuery},
    store::{StoreError, drop_blocking},
    sync::{caught, contain},
};

/// A panic that comes again and again must not use up a processor.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(100);

struct Worker {
    inbox: Arc<Inbox>,
    client: StoreClient,
    maintenance: Maintenance,
    gauges: GaugeTimer,
}

/// Adds a breaker to the writer of its store, which is started if there is none. If it cannot be
/// started, that is to be announced.
pub(super) fn join(
    store: KnownStore,
    name: &str,
    source: &Arc<dyn SnapshotSource>,
    settings: SaveSettings,
    config: &WriteBehindConfig,
) -> (Arc<Inbox>, NewEntry, Option<Announcement>) {
    let make_entry = |id: EntryId| Entry::new(id, keys::snapshot(name), Arc::clone(source));
    let make_monitor = || {
        let patience = PATIENCE.max(config.load_wait).max(config.drop_wait);
        Monitor::new(patience, &store)
    };
    let Joined { inbox, new, needs_writer } =
        inboxes::join(store.id, settings, &make_entry, make_monitor);
    let announcement = if needs_writer { start(&inbox, store, config) } else { None };
    (inbox, new, announcement)
}

fn start(
    inbox: &Arc<Inbox>,
    store: KnownStore,
    config: &WriteBehindConfig,
) -> Option<Announcement> {
    let watched: Weak<dyn watchdog::Watched> = Arc::downgrade(inbox) as _;
    watchdog::watch(watched);
    let client = StoreClient::new(store, Arc::clone(&inbox.monitor));
    let worker = Worker {
        inbox: Arc::clone(inbox),
        maintenance: Maintenance::new(config, &client),
        client,
        gauges: GaugeTimer::default(),
    };
    let error = inbox.starter.start(move || worker.run()).err()?;
    let reason = format!("the store's writer thread cannot be started: {error}");
    let report = Report::Outage { reason };
    inbox.monitor.health().report(report, false, Instants::read()).announcement
}

impl Worker {
    /// Works until no breaker is left on the store.
    fn run(mut self) {
        self.inbox.set_thread();
        // User code is contained where it is called. If a panic gets here all the same, the
        // writer has to go on: nothing would be saved without it.
        while let Err(panic) = caught(|| self.work()) {
            self.recover(&panic);
        }
        self.end();
    }

    fn work(&mut self) {
        while let Some(work) = self.inbox.next(self.due()) {
            match work {
                Work::Batch(batch) => {
                    self.run_batch(batch);
                    self.run_between_batches();
                }
                Work::History(key, query) => self.read_history(&key, query),
                Work::Maintenance => {
                    let Self { inbox, client, maintenance, .. } = self;
                    let done = maintenance.step(client, &inbox.preload, &**inbox);
                    self.note(done);
                }
            }
            self.inbox.deliver_left();
            if self.gauges.is_due() {
                self.inbox.record_gauges();
            }
        }
    }

    /// Has every request refused that was under way, and the store tried again in a moment.
    fn recover(&self, panic: &str) {
        let reason = format!("the store's writer thread panicked: {panic}");
        let inbox = &*self.inbox;
        let (in_flight, reading) = {
            let mut content = inbox.content();
            (mem::take(&mut content.requests.in_flight), content.requests.reading.take())
        };
        for request in in_flight {
            request.refuse_for_now(&reason);
        }
        if let Some(request) = reading {
            request.refuse(&reason);
        }
        let report = Report::Outage { reason };
        let change = inbox.monitor.health().report(report, true, Instants::read());
        let _ = inbox.announce(change.announcement);
        thread::sleep(PAUSE_AFTER_PANIC);
    }

    fn end(self) {
        self.inbox.unlist();
        self.inbox.record_gauges_without();
        let Self { inbox, client, .. } = self;
        contain(|| "the drop of a store".to_owned(), || drop_blocking(client));
        let mut content = inbox.content();
        content.lifecycle = Lifecycle::Ended;
        let await_end = mem::take(&mut content.await_end);
        drop(content);
        inbox.departed.notify_all();
        for task in await_end {
            task.send(());
        }
    }

    /// When there is something to do besides batches.
    fn due(&self) -> Option<Instant> {
        self.maintenance
            .due(&self.client, &self.inbox.preload)
            .into_iter()
            .chain(self.gauges.due())
            .min()
    }

    fn run_batch(&mut self, Batch { mut items, retry_at }: Batch) {
        let began = Instant::now();
        let Self { inbox, client, .. } = self;
        let mut outcome = caught(|| batch::run(client, &inbox.preload, &mut items))
            .unwrap_or_else(|panic| BatchReport::panicked(&panic, &mut items));
        if !outcome.is_conclusive()
            && let Some(entry) = inbox.entry_to_probe(retry_at.is_some())
        {
            outcome.probe(client, &entry);
        }
        self.maintenance.trim_later(mem::take(&mut outcome.to_trim));
        self.conclude(&items, &outcome, retry_at, began);
    }

    /// Runs what else waits after each batch, also if the next one is due.
    fn run_between_batches(&mut self) {
        if let Some((key, query)) = self.inbox.next_history() {
            self.read_history(&key, query);
        }
        if !self.client.health().is_down() {
            let Self { inbox, client, maintenance, .. } = self;
            let done = maintenance.step_between_batches(client, &inbox.preload);
            self.note(done);
        }
    }

    /// Takes in the results of a batch: the entries first, then the store's health, and at last the
    /// callers that wait.
    fn conclude(
        &self,
        items: &[Item],
        outcome: &BatchReport,
        retry_at: Option<Instant>,
        began: Instant,
    ) {
        let inbox = &*self.inbox;
        let now = Instants::read();
        let mut content = inbox.content();
        let gone: Vec<_> =
            items.iter().flat_map(|item| content.conclude(item, now.instant)).collect();
        content.end_batch(began, now.instant);
        let schedule = &mut content.schedule;
        let ends_retry = retry_at.is_some_and(|at| outcome.is_outage() || schedule.has_retried(at));
        let report = outcome.is_conclusive().then(|| outcome.report(schedule.has_failed()));
        let change = report
            .map(|report| inbox.monitor.health().report(report, ends_retry, now))
            .unwrap_or_default();
        let answered = mem::take(&mut content.requests.in_flight);
        let answered: Vec<_> = answered
            .into_iter()
            .map(|request| (content.schedule.flush_result(request.entry), request))
            .collect();
        drop(content);
        if change.save_all {
            inbox.save_all();
        }
        let _ = inbox.announce(change.announcement);
        for entry in &gone {
            entry.release();
        }
        if !gone.is_empty() {
            inbox.departed.notify_all();
        }
        self.answer(answered, items, outcome);
    }

    fn answer(
        &self,
        requests: Vec<(Result<(), FlushError>, WriterRequest)>,
        items: &[Item],
        outcome: &BatchReport,
    ) {
        let failed: HashSet<EntryId> =
            items.iter().filter(|item| item.has_failed).map(|item| item.entry.id).collect();
        let reason = outcome.reason().unwrap_or_default();
        for (flushed, WriterRequest { entry, wanted }) in requests {
            let has_failed = failed.contains(&entry);
            match wanted {
                Wanted::Flush(reply) if has_failed => reply(Err(FlushError::retried(&reason))),
                Wanted::Flush(reply) => reply(flushed),
                Wanted::History(request) if has_failed || outcome.is_outage() => {
                    request.refuse(&reason);
                }
                Wanted::History(request) => {
                    self.inbox.content().requests.histories.push_back(request);
                }
                Wanted::Load(reply) => drop(reply.try_send(())),
                Wanted::Departure => {}
            }
        }
    }

    fn read_history(&self, key: &str, query: HistoryQuery) {
        let before = query.before.map(HistoryCursor::id);
        // One more than a page holds: then there is a next page.
        let records = self.client.newest_records(key, before, query.limit() + 1);
        if let Err(error) = &records {
            self.note_failure(error);
        }
        // A request that waited for too long has been refused.
        if let Some(request) = self.inbox.take_reading() {
            request.answer(records);
        }
    }

    fn note(&self, done: Result<(), StoreError>) {
        if let Err(error) = done {
            self.note_failure(&error);
        }
    }

    /// An error of a call outside of a batch. A store says once that it lost what it held, to
    /// whichever call comes first, so an outage counts as that of a batch does: with the next
    /// retry, every breaker is saved again.
    fn note_failure(&self, error: &StoreError) {
        if error.is_outage() {
            let report = Report::Outage { reason: error.to_string() };
            let change = self.client.health().report(report, false, Instants::read());
            let _ = self.inbox.announce(change.announcement);
        }
    }
}
