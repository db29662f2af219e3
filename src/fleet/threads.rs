//! The threads of a fleet: one that talks to the server, and one that waits for news.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::Ordering,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use smol_str::SmolStr;

use super::{
    agent::Agent,
    counts::FleetCounts,
    health::{ConnectionHealth, FleetHealth, Gauges},
    home::{FORKED, Home},
    keys::Keys,
    leaving::Leaving,
    message::{Ask, Message},
    news::{Reader, Signals},
    replica::{FleetError, FleetReplica, FleetView},
    settings::Settings,
    transport::Transport,
};
use crate::{
    reply::{Replier, reply},
    store::redis::Connector,
    sync::std_lock,
};

/// What the handles of a fleet and the breakers of one of its shards share. The threads end with
/// the last of them.
pub(crate) struct Threads {
    connector: Arc<Connector>,
    settings: Arc<Settings>,
    shard: u16,
    sender: Sender<Message>,
    home: Arc<Home>,
    missing: Mutex<Missing>,
    signals: Arc<Signals>,
    health: Arc<ConnectionHealth>,
}

/// What a thread that has not started yet needs.
struct Missing {
    receiver: Option<Receiver<Message>>,
    reader: bool,
    /// Of the thread that has taken the receiver.
    leaving: Option<Leaving>,
}

impl Threads {
    pub(super) fn new(
        connector: Arc<Connector>,
        settings: Arc<Settings>,
        shard: u16,
        gauges: Arc<Gauges>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            connector,
            settings,
            shard,
            sender,
            home: Arc::default(),
            missing: Mutex::new(Missing { receiver: Some(receiver), reader: true, leaving: None }),
            signals: Arc::default(),
            health: Arc::new(ConnectionHealth::new(shard, gauges)),
        }
    }

    pub(super) fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    pub(super) fn home(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    /// `false` if there is no thread to take it.
    pub(super) fn send(&self, message: Message) -> bool {
        !self.home.is_forked() && self.sender.send(message).is_ok()
    }

    pub(super) fn counts(&self) -> FleetCounts {
        self.settings.counts
    }

    pub(super) fn replica_id(&self) -> &str {
        &self.settings.replica
    }

    pub(super) fn health(&self) -> FleetHealth {
        self.forked_health().unwrap_or_else(|| self.health.get())
    }

    /// The health in a process that was forked from the one with the threads.
    pub(super) fn forked_health(&self) -> Option<FleetHealth> {
        self.home.forked_health()
    }

    /// Whether a breaker has started the threads.
    pub(super) fn are_started(&self) -> bool {
        self.home.has_threads()
    }

    pub(super) async fn replicas(&self) -> Result<Vec<FleetReplica>, FleetError> {
        self.ask(Ask::Replicas).await
    }

    pub(super) async fn views(
        &self,
        name: SmolStr,
        wait: Duration,
    ) -> Result<Vec<FleetView>, FleetError> {
        self.ask(|replier| Ask::Views { name, wait, replier }).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(Replier<Result<T, FleetError>>) -> Ask,
    ) -> Result<T, FleetError> {
        if self.home.is_forked() {
            return Err(FleetError::not_reached(FORKED));
        }
        self.start();
        let (replier, reply) = reply();
        // Without the thread, the question is dropped, and with it the replier.
        self.send(Message::Ask(ask(replier)));
        let ended = || Err(FleetError::not_reached("the thread of the fleet has ended"));
        reply.await.unwrap_or_else(ended)
    }

    /// Starts the threads, unless they run. If one cannot be started, the breakers decide alone,
    /// and the next call tries again.
    pub(super) fn start(&self) {
        if self.home.is_forked() {
            return;
        }
        let mut missing = std_lock(&self.missing);
        let started = self.start_agent(&mut missing).and_then(|()| self.start_reader(&mut missing));
        // What is logged may use the fleet.
        drop(missing);
        if let Err(error) = started {
            self.health.set_alone(&format!("a thread cannot be started: {error}"));
        }
    }

    fn start_agent(&self, missing: &mut Missing) -> io::Result<()> {
        let Some(receiver) = missing.receiver.take() else { return Ok(()) };
        let keys = Keys::new(&self.settings.prefix, self.shard);
        let connector = Arc::clone(&self.connector);
        let transport = Transport::new(connector, keys, self.settings.timeout);
        let agent = Agent::new(
            transport,
            Arc::clone(&self.settings),
            Arc::clone(&self.health),
            receiver,
            Arc::clone(&self.signals),
        );
        // It stays here if the thread cannot be started.
        let waiting = Arc::new(Mutex::new(Some(agent)));
        let taken = Arc::clone(&waiting);
        let (running, ended) = mpsc::channel();
        let run = move || {
            let agent = std_lock(&taken).take();
            if let Some(agent) = agent {
                agent.run();
            }
            drop::<Sender<()>>(running);
        };
        self.home.enter();
        match thread::Builder::new().name("breaker-fleet".into()).spawn(run) {
            Ok(started) => {
                missing.leaving = Some(Leaving::new(started.thread().id(), ended));
                Ok(())
            }
            Err(error) => {
                self.home.leave();
                missing.receiver = std_lock(&waiting).take().map(Agent::into_receiver);
                Err(error)
            }
        }
    }

    fn start_reader(&self, missing: &mut Missing) -> io::Result<()> {
        if !missing.reader {
            return Ok(());
        }
        let keys = Keys::new(&self.settings.prefix, self.shard);
        let connector = Arc::clone(&self.connector);
        let reader = Reader::new(connector, keys, self.sender(), Arc::clone(&self.signals));
        thread::Builder::new().name("breaker-news".into()).spawn(move || reader.run())?;
        missing.reader = false;
        Ok(())
    }
}

impl Threads {
    /// Has the threads end, without a wait.
    pub(super) fn stop(&self) {
        if !self.home.is_forked() {
            self.signals.stop.store(true, Ordering::Relaxed);
            self.send(Message::Stop);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.home.is_forked() {
            // Its drop may wait for a thread that is not there.
            std::mem::forget(std::mem::replace(&mut self.sender, mpsc::channel().0));
            return;
        }
        let waits = self.signals.has_votes.load(Ordering::Relaxed) && !self.health.get().is_alone();
        self.stop();
        if let Some(leaving) = std_lock(&self.missing).leaving.take().filter(|_| waits) {
            leaving.wait();
        }
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
