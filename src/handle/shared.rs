use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;
use tokio::sync::broadcast;

use crate::{
    Event,
    breaker::{
        cell::{Cell, Observer},
        machine::Step,
        pool,
        restore::Now,
    },
    event::Transition,
};

/// Called at each event.
pub(super) type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// What the clones of a handle share. The last one that goes gives the cell back.
pub(super) struct Shared {
    pub(super) name: SmolStr,
    cell: &'static Cell,
    teller: Arc<Teller>,
}

impl Shared {
    pub(super) fn new(name: SmolStr, cell: &'static Cell, teller: Arc<Teller>) -> Self {
        Self { name, cell, teller }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.teller
            .channel
            .get_or_init(|| broadcast::channel(64).0)
            .subscribe()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cell.vacate();
        pool::give_back(self.cell);
    }
}

/// Tells what happened: to the log, to the listeners, to the subscribers.
pub(super) struct Teller {
    name: Arc<str>,
    listeners: Vec<Listener>,
    channel: OnceLock<broadcast::Sender<Event>>,
}

impl Teller {
    pub(super) fn new(name: &str, listeners: Vec<Listener>) -> Self {
        Self {
            name: name.into(),
            listeners,
            channel: OnceLock::new(),
        }
    }

    fn tell(&self, event: Event) {
        for listener in &self.listeners {
            listener(&event);
        }
        if let Some(channel) = self.channel.get() {
            // Nobody listening is no fault.
            let _ = channel.send(event);
        }
    }
}

impl Observer for Teller {
    fn changed(&self, _urgent: bool) {}

    fn stepped(&self, step: &Step, now: Now) {
        let transition = Transition {
            name: Arc::clone(&self.name),
            from: step.from,
            to: step.to,
            reason: step.reason,
            failure_count: step.failure_count,
            open_time: step.open_time,
            at: now.wall_at(step.at),
        };
        transition.log();
        self.tell(Event::Transition(transition));
    }
}
