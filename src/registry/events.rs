//! One stream of events for all breakers of a registry.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

use tokio::sync::broadcast;

use crate::{
    event::Event,
    handle::{EventChannel, Listener},
    sync::{contain, log, std_lock},
};

/// The number of events that a subscriber may fall behind.
const CHANNEL_CAPACITY: usize = 1024;

/// Where the events of all breakers go. It writes them to the log, too.
pub(super) struct Hub {
    listeners: Vec<Listener>,
    channel: EventChannel,
}

impl Hub {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        Self { listeners, channel: EventChannel::new(CHANNEL_CAPACITY) }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.channel.subscribe()
    }

    pub(super) fn dispatch(&self, event: &Event) {
        log(|| event.log());
        for listener in &self.listeners {
            contain(
                || "a listener of a registry of circuit breakers".to_owned(),
                || listener.call(event),
            );
        }
        if self.channel.has_subscribers() {
            contain(
                || "the task of a subscriber of a registry of circuit breakers".to_owned(),
                || self.channel.send(event.clone()),
            );
        }
    }
}

/// Holds the events of a breaker back until the registry has it, and no lock is held: a listener
/// may look the breaker up by the event's name, and must not wait for the build that it is part of.
/// Nor must a subscriber of the log.
pub(super) struct EventGate {
    hub: Arc<Hub>,
    /// `None` once the gate is open.
    held: Mutex<Option<VecDeque<Event>>>,
}

impl EventGate {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, held: Mutex::new(Some(VecDeque::new())) }
    }

    pub(super) fn pass(&self, event: &Event) {
        if let Some(held) = &mut *std_lock(&self.held) {
            held.push_back(event.clone());
            return;
        }
        self.hub.dispatch(event);
    }

    /// Dispatches what was held back, in order. What happens meanwhile queues up behind it.
    pub(super) fn open(&self) {
        // The lock is not held while listeners run: they may use the breaker.
        while let Some(event) = self.next_held() {
            self.hub.dispatch(&event);
        }
    }

    /// The oldest event that is held back. If there is none, the gate is open from then on.
    fn next_held(&self) -> Option<Event> {
        let mut held = std_lock(&self.held);
        let next = held.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *held = None;
        }
        next
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
