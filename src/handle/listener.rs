//! Who hears of events: functions and subscribers.
//!
//! Both are user code. They may panic where they are dropped, too, and that may be a thread
//! that unwinds.

use std::{any::type_name, fmt};

use tokio::sync::broadcast;

use crate::{event::Event, sync::contain};

type Heard = dyn Fn(&Event) + Send + Sync;

/// A function that is called for each event. Its `Debug` prints the name of its type.
pub(crate) struct Listener {
    /// `None` while it is dropped.
    call: Option<Box<Heard>>,
    type_name: &'static str,
}

impl Listener {
    pub(crate) fn new<F>(listener: F) -> Self
    where
        F: Fn(&Event) + Send + Sync + 'static,
    {
        Self { call: Some(Box::new(listener)), type_name: type_name::<F>() }
    }

    pub(crate) fn call(&self, event: &Event) {
        if let Some(call) = &self.call {
            call(event);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let call = self.call.take();
        contain(|| format!("the drop of the listener {}", self.type_name), || drop(call));
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name)
    }
}

/// Where subscribers receive events. When it is dropped, their tasks are woken.
pub(crate) struct EventChannel(Option<broadcast::Sender<Event>>);

impl EventChannel {
    /// `capacity` is the number of events that a subscriber may fall behind.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Some(broadcast::Sender::new(capacity)))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        match &self.0 {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        self.0.as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // An error means only that there is no subscriber at the moment.
            let _ = sender.send(event);
        }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        let sender = self.0.take();
        contain(|| "the task of a subscriber".to_owned(), || drop(sender));
    }
}
