//! The threads of a fleet: one that talks to the server, and one that waits for news.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::Ordering,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use super::{
    agent::Agent,
    health::{FleetHealth, Health},
    keys::Keys,
    message::Message,
    news::{Reader, Signals},
    settings::Settings,
    transport::Transport,
};
use crate::{store::redis::Connector, sync::std_lock};

/// What the handles and the breakers of a fleet share. The threads end with the last of them.
pub(crate) struct Threads {
    connector: Arc<Connector>,
    settings: Arc<Settings>,
    sender: Sender<Message>,
    /// Until the threads have started.
    receiver: Mutex<Option<Receiver<Message>>>,
    signals: Arc<Signals>,
    health: Arc<Health>,
}

impl Threads {
    pub(super) fn new(connector: Connector, settings: Settings) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            connector: Arc::new(connector),
            settings: Arc::new(settings),
            sender,
            receiver: Mutex::new(Some(receiver)),
            signals: Arc::default(),
            health: Arc::new(Health::new()),
        }
    }

    pub(super) fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    /// `false` if there is no thread to take it.
    pub(super) fn send(&self, message: Message) -> bool {
        self.sender.send(message).is_ok()
    }

    pub(super) fn health(&self) -> FleetHealth {
        self.health.get()
    }

    /// Starts the threads, unless they run. If one cannot be started, the breakers decide alone.
    pub(super) fn start(&self) {
        let mut slot = std_lock(&self.receiver);
        let Some(receiver) = slot.take() else { return };
        let keys = Keys::new(&self.settings.prefix);
        let connector = Arc::clone(&self.connector);
        let transport = Transport::new(Arc::clone(&connector), keys.clone(), self.settings.timeout);
        let agent = Agent::new(
            transport,
            Arc::clone(&self.settings),
            Arc::clone(&self.health),
            receiver,
            Arc::clone(&self.signals),
        );
        let reader = Reader::new(connector, keys, self.sender(), Arc::clone(&self.signals));
        let started = thread::Builder::new()
            .name("breaker-fleet".into())
            .spawn(move || agent.run())
            .and_then(|_| {
                thread::Builder::new().name("breaker-news".into()).spawn(move || reader.run())
            });
        if let Err(error) = started {
            self.health.set_alone(&format!("a thread cannot be started: {error}"));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.signals.stop.store(true, Ordering::Relaxed);
        self.send(Message::Stop);
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("address", self.connector.address())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
