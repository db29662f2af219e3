//! What the clones of a handle share, and where the events of a breaker go.

use std::sync::{Arc, Mutex};

use smol_str::SmolStr;
use tokio::sync::broadcast;

use super::{
    listener::{EventChannel, Listener},
    meter::Meter,
    rejection_name::RejectionName,
};
#[cfg(feature = "keyed")]
use crate::breaker::nesting::key_mark::KeyMark;
#[cfg(feature = "redis")]
use crate::fleet::{Membership, RedisFleet};
use crate::{
    breaker::{
        cell::Cell,
        effects::{Change, EndCounts},
        notify::Observer,
        pool,
        window::WindowCopies,
    },
    event::{Event, Transition},
    history::HistoryEntry,
    metrics::MeterSlot,
    snapshot::Snapshot,
    sync::{OnceBox, contain, log, std_lock},
    write_behind::{
        Attachment, ChangeMarker, FirstSteps, KnownStore, SaveSettings, SnapshotSource,
        WriteBehindConfig,
    },
};
#[cfg(feature = "metrics")]
use crate::{
    metrics::{self, BreakerMetrics, StatsSource},
    stats::Stats,
};

/// The number of events that a subscriber may fall behind.
const CHANNEL_CAPACITY: usize = 64;

/// Where the events of a breaker go.
pub(super) struct Listeners {
    pub(super) all: Box<[Listener]>,
    /// Whether a listener writes the events to the log, in place of the dispatcher.
    pub(super) do_log: bool,
}

/// Shared by all clones of a handle. Dropping the last one returns the cell to the pool.
pub(super) struct BreakerInner {
    /// Dropped before the cell is returned, because it takes a final snapshot of it.
    /// Boxed, so that a breaker without a store does not pay for it.
    pub(super) attachment: Option<Box<Attachment>>,
    #[cfg(feature = "redis")]
    pub(super) membership: Option<Box<Membership>>,
    dispatcher: Arc<EventDispatcher>,
    /// The key in a group. A call of it that began without the breaker runs under this mark.
    #[cfg(feature = "keyed")]
    pub(super) key_mark: KeyMark,
}

impl BreakerInner {
    pub(super) fn new(dispatcher: Arc<EventDispatcher>) -> Self {
        Self {
            attachment: None,
            #[cfg(feature = "redis")]
            membership: None,
            dispatcher,
            #[cfg(feature = "keyed")]
            key_mark: KeyMark::default(),
        }
    }

    pub(super) fn cell(&self) -> &'static Cell {
        self.dispatcher.cell
    }

    /// Restores the breaker's snapshot from the store, and saves every change from now on. A state
    /// that comes from elsewhere `is_new` to the store.
    pub(super) fn attach(
        &mut self,
        store: KnownStore,
        settings: SaveSettings,
        config: &WriteBehindConfig,
        is_new: bool,
        take_steps: impl FnOnce(FirstSteps),
    ) {
        let source = Arc::clone(&self.dispatcher) as Arc<dyn SnapshotSource>;
        let attachment =
            Attachment::attach(store, self.name(), &source, settings, config, take_steps);
        let link = StoreLink { marker: attachment.marker(), copies: Mutex::default() };
        // It is not set yet: a breaker is attached once.
        self.dispatcher.store.get_or_init(|| Box::new(link));
        if is_new {
            attachment.marker().transition();
        }
        self.attachment = Some(Box::new(attachment));
    }

    /// Prepares the breaker for [sharing](Self::share).
    #[cfg(feature = "redis")]
    pub(super) fn join(&mut self, fleet: &RedisFleet) {
        self.membership = Some(Box::new(Membership::new(fleet.threads(self.name()))));
    }

    /// Shares the breaker, if it has a fleet. It takes the state of that over in the background.
    #[cfg(feature = "redis")]
    pub(super) fn share(&self) {
        if let Some(membership) = &self.membership {
            let observer = Arc::clone(&self.dispatcher) as Arc<dyn Observer>;
            membership.begin(self.name().clone(), self.cell(), &observer);
        }
    }

    /// Waits until the breaker has the state of its fleet, but not for long.
    #[cfg(feature = "redis")]
    pub(super) fn wait_for_fleet(&self) {
        if let Some(membership) = &self.membership {
            membership.wait();
        }
    }

    #[inline]
    pub(super) fn name(&self) -> &SmolStr {
        &self.dispatcher.name
    }

    #[inline]
    pub(super) fn name_of_rejections(&self) -> SmolStr {
        let EventDispatcher { name, seldom, .. } = &*self.dispatcher;
        // A short name is its own.
        if name.is_heap_allocated() { name_of_rejections(name, seldom) } else { name.clone() }
    }

    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.dispatcher.snapshot()
    }

    #[cfg(feature = "metrics")]
    pub(super) fn metrics(&self) -> Option<BreakerMetrics> {
        metrics::begin_all();
        // Those that were built a moment ago wait still.
        self.cell().begin_meter();
        self.dispatcher.meter.read()
    }

    /// Begins to count for metrics without waiting for the first call, if the numbers are read.
    #[cfg_attr(not(feature = "metrics"), expect(clippy::unused_self, reason = "none are counted"))]
    pub(super) fn begin_meter_if_read(&self) {
        #[cfg(feature = "metrics")]
        self.dispatcher.begin_meter_if_read();
    }

    /// The breaker is in no state of its group any more.
    #[cfg(feature = "keyed")]
    pub(super) fn leave_group(&self) {
        self.dispatcher.meter.leave_group();
    }

    /// Counts for metrics what the settings say now.
    #[cfg(feature = "metrics")]
    pub(super) fn follow_call_metrics(&self) {
        self.dispatcher.follow_call_metrics();
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        let channel = &self.dispatcher.seldom.get_or_init(Box::default).channel;
        channel.get_or_init(|| Box::new(EventChannel::new(CHANNEL_CAPACITY))).subscribe()
    }
}

impl Drop for BreakerInner {
    fn drop(&mut self) {
        #[cfg(feature = "redis")]
        drop(self.membership.take());
        drop(self.attachment.take());
        self.cell().vacate();
        self.dispatcher.meter.end();
        pool::give_back(self.cell());
    }
}

/// What a breaker with a store has besides.
struct StoreLink {
    /// Marks the breaker as changed for the store's writer.
    marker: ChangeMarker,
    /// Copies of large windows, from the last snapshot.
    copies: Mutex<Option<Box<WindowCopies>>>,
}

/// What few breakers have: one word in all others.
#[derive(Default)]
struct Seldom {
    /// Made for the first subscriber.
    channel: OnceBox<EventChannel>,
    rejection_name: RejectionName,
}

#[inline(never)]
fn name_of_rejections(name: &SmolStr, seldom: &OnceBox<Seldom>) -> SmolStr {
    seldom.get_or_init(Box::default).rejection_name.of(name)
}

/// Sends what happens to the log, the listeners, the subscribers and the store's writer.
pub(super) struct EventDispatcher {
    pub(super) name: SmolStr,
    pub(super) cell: &'static Cell,
    /// Boxed, so that a breaker without one does not pay for it.
    listeners: Option<Box<Listeners>>,
    seldom: OnceBox<Seldom>,
    /// Set if the breaker has a store.
    store: OnceBox<StoreLink>,
    meter: Meter,
}

impl EventDispatcher {
    pub(super) fn new(
        name: SmolStr,
        cell: &'static Cell,
        listeners: Listeners,
        meter: Meter,
    ) -> Self {
        Self {
            name,
            cell,
            meter,
            listeners: (!listeners.all.is_empty()).then(|| Box::new(listeners)),
            seldom: OnceBox::default(),
            store: OnceBox::default(),
        }
    }

    #[cfg(feature = "metrics")]
    fn begin_meter_if_read(&self) {
        let counts = self.meter.slot() == MeterSlot::WAITING;
        if counts && (metrics::is_read(pool::begin_meters) || self.meter.is_of_group()) {
            self.cell.begin_meter();
        }
    }

    /// Counts for metrics what the settings say now.
    #[cfg(feature = "metrics")]
    pub(super) fn follow_call_metrics(&self) {
        let mut ended = None;
        self.cell.set_meter(self, |machine| {
            let (slot, old) = self.meter.set(machine.config().call_metrics, machine.state());
            ended = old;
            slot
        });
        drop(ended);
        self.begin_meter_if_read();
    }

    /// The state as data. `None` once the breaker is gone.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.with_copies(|copies| {
            let mut snapshot = self.cell.snapshot(self, copies)?;
            copies.encode_into(&mut snapshot.windows);
            Some(snapshot)
        })
    }

    pub(super) fn with_copies<T>(&self, job: impl FnOnce(&mut WindowCopies) -> T) -> T {
        let store = self.store.get();
        // Taken out: a listener that runs meanwhile may take a snapshot too.
        let kept = store.and_then(|store| std_lock(&store.copies).take());
        let mut copies = kept.unwrap_or_default();
        let result = job(&mut copies);
        if let Some(store) = store
            && copies.are_large()
        {
            *std_lock(&store.copies) = Some(copies);
        }
        result
    }

    /// Whether a listener or a subscriber hears of events.
    pub(super) fn is_listened_to(&self) -> bool {
        self.listeners.is_some() || self.channel().is_some()
    }

    fn channel(&self) -> Option<&EventChannel> {
        self.seldom.get()?.channel.get()
    }

    pub(super) fn dispatch(&self, event: Event) {
        for listener in self.listeners.iter().flat_map(|listeners| &listeners.all) {
            self.contain("a listener", || listener.call(&event));
        }
        if let Some(channel) = self.channel() {
            self.contain("the task of a subscriber", || channel.send(event));
        }
    }

    fn contain(&self, what: &str, work: impl FnOnce()) {
        contain(|| format!("{what} of circuit breaker {:?}", self.name), work);
    }
}

impl Observer for EventDispatcher {
    fn name(&self) -> Arc<str> {
        self.name.as_str().into()
    }

    fn on_change(&self, change: Change) {
        let Some(StoreLink { marker, .. }) = self.store.get() else { return };
        match change {
            Change::Transition => marker.transition(),
            Change::Counts => marker.counts(),
        }
    }

    fn record_transitions(&self, transitions: &[Transition]) {
        self.meter.record_transitions(transitions);
        let Some(StoreLink { marker, .. }) = self.store.get() else { return };
        marker.record_transitions(transitions.iter().cloned().map(HistoryEntry::new));
    }

    fn count(&self, counts: EndCounts) {
        self.meter.count(counts);
    }

    #[cfg(feature = "metrics")]
    fn begin_meter(self: Arc<Self>) -> MeterSlot {
        let source = Arc::clone(&self) as Arc<dyn StatsSource>;
        self.meter.begin(&self.name, &source)
    }

    #[cfg(not(feature = "metrics"))]
    fn begin_meter(self: Arc<Self>) -> MeterSlot {
        MeterSlot::OFF
    }

    fn on_event(&self, event: Event) {
        if self.listeners.as_ref().is_none_or(|listeners| !listeners.do_log) {
            log(|| event.log());
        }
        self.dispatch(event);
    }
}

#[cfg(feature = "metrics")]
impl StatsSource for EventDispatcher {
    fn stats(&self) -> Option<Stats> {
        self.cell.inspect_owned(self, |machine, _| machine.stats())
    }
}
