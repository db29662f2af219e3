//! An agent without its thread: it works when the test says so.

use std::sync::{atomic::AtomicBool, mpsc};

use super::*;
use crate::{
    breaker::{
        cell::{Cell, CellSetup},
        command,
        effects::{Change, EndCounts},
        notify::Observer,
        permit::Permit,
        pool,
        sharing::SharedView,
    },
    clock::TimeSource,
    config::{Config, Trip},
    event::{Event, Transition},
    fleet::{
        agreement::Agreement,
        counts::FleetCounts,
        health::BreakerHealth,
        keys::Keys,
        message::Marker,
        protocol::{
            command::{Answer, FleetCommand, Request},
            fence::Fence,
            record::Record,
        },
        tests::support::redis::RedisServer,
    },
    metrics::MeterSlot,
    state::State,
    store::redis::Connector,
};

/// A deadline that no command meets.
pub(super) const TOO_SHORT: Duration = Duration::from_micros(1);
pub(super) const LONG: Duration = Duration::from_secs(60);

struct Listener;

impl Observer for Listener {
    fn name(&self) -> Arc<str> {
        "a".into()
    }

    fn on_change(&self, _: Change) {}

    fn record_transitions(&self, _: &[Transition]) {}

    fn count(&self, _: EndCounts) {}

    fn begin_meter(self: Arc<Self>) -> MeterSlot {
        MeterSlot::OFF
    }

    fn on_event(&self, _: Event) {}
}

/// A shared breaker without a handle.
pub(super) struct Breaker {
    pub(super) id: u64,
    cell: &'static Cell,
    _observer: Arc<dyn Observer>,
}

impl Breaker {
    pub(super) fn permit(&self) -> Option<Permit> {
        Permit::try_acquire(self.cell).ok()
    }

    pub(super) fn fail(&self) {
        for _ in 0..3 {
            self.permit().unwrap().failure();
        }
        assert_eq!(self.state(), State::Open);
    }

    pub(super) fn force_open(&self) {
        self.cell.command(command::Command::ForceOpen(None));
    }

    pub(super) fn state(&self) -> State {
        self.cell.inspect(|machine, _| machine.state()).unwrap()
    }
}

pub(super) struct Rig {
    pub(super) server: RedisServer,
    pub(super) agent: Agent,
    sender: mpsc::Sender<Message>,
    next: u64,
}

impl Rig {
    /// `None`: there is no server, and the test is skipped.
    pub(super) fn start(agreement: Agreement) -> Option<Self> {
        Self::start_counting(agreement, FleetCounts::Own)
    }

    pub(super) fn start_counting(agreement: Agreement, counts: FleetCounts) -> Option<Self> {
        let server = RedisServer::start()?;
        let agent = |url: &str| {
            let mut connector = Connector::new(url).unwrap();
            connector.command_timeout = LONG;
            let keys = Keys::new("circuit_breaker", 0);
            let transport = Transport::new(Arc::new(connector), keys, LONG);
            let settings = Settings {
                agreement,
                replica: "here".to_owned(),
                voter: 1,
                lease: Duration::from_secs(5),
                counts,
                prefix: "circuit_breaker".to_owned(),
                timeout: LONG,
            };
            let (sender, receiver) = mpsc::channel();
            let (settings, health) =
                (Arc::new(settings), Arc::new(ConnectionHealth::new(0, Arc::default())));
            (Agent::new(transport, settings, health, receiver, Arc::default()), sender)
        };
        let (mut agent, sender) = agent(&server.url());
        agent.take(Message::Reading { serial: 0 });
        Some(Self { server, agent, sender, next: 1 })
    }

    pub(super) fn config() -> Config {
        Config {
            trip_on: vec![Trip::consecutive_failures(3)],
            recovery_timeout: LONG,
            ..Config::default()
        }
    }

    /// Shares a breaker. It joins with the next step.
    pub(super) fn add(&mut self, name: &str, config: Config) -> Breaker {
        let (id, cell) = (self.next, pool::take());
        self.next += 1;
        let observer: Arc<dyn Observer> = Arc::new(Listener);
        let setup = CellSetup::new(config, TimeSource::System);
        cell.assign(CellSetup { observer: Some(Arc::clone(&observer)), ..setup });
        let is_marked = Arc::new(AtomicBool::new(false));
        let (sender, home) = (self.sender.clone(), Arc::default());
        let marker = Marker { id, is_marked: Arc::clone(&is_marked), sender, home };
        let counts = self.agent.settings.counts == FleetCounts::Shared;
        cell.with_shared(&*observer, |machine, _| machine.share(Box::new(marker), counts));
        let (weak, health) = (Arc::downgrade(&observer), Arc::<BreakerHealth>::default());
        let entry = FleetEntry::new(id, name.into(), cell, weak, is_marked, health);
        self.agent.take(Message::Attach(Box::new(entry), Attaching::new(&Arc::default())));
        Breaker { id, cell, _observer: observer }
    }

    /// Takes what the breakers have sent, and works once.
    pub(super) fn step(&mut self) {
        self.take_messages();
        self.agent.work();
    }

    pub(super) fn take_messages(&mut self) {
        while let Ok(message) = self.agent.receiver.try_recv() {
            self.agent.take(message);
        }
    }

    /// Works as the thread does until this holds.
    #[track_caller]
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < LONG, "not within a minute: {what}");
            self.step();
            let wait = self.agent.next_moment().saturating_duration_since(Instant::now());
            std::thread::sleep(wait.min(Duration::from_millis(20)));
        }
    }

    pub(super) fn shared(&mut self, breaker: &Breaker) -> &mut SharedBreaker {
        self.agent.breakers.get_mut(&breaker.id).unwrap()
    }

    pub(super) fn view(&mut self, breaker: &Breaker) -> SharedView {
        self.shared(breaker).entry.view().unwrap()
    }

    /// A command of another replica.
    pub(super) fn other(&mut self, name: &str, request: Request) -> Answer {
        self.agent.transport.call(name, FleetCommand { seen: Fence::NONE, request }).unwrap()
    }

    pub(super) fn record(&mut self, name: &str) -> Record {
        self.other(name, Request::Join(Record::NONE)).record
    }

    /// A field of the hash of a breaker.
    pub(super) fn field(&self, name: &str, field: &str) -> String {
        self.server.command(&[
            "HGET",
            &format!("circuit_breaker:{{0}}:fleet:{name}:breaker"),
            field,
        ])
    }

    /// The fields of a breaker's hash that are votes.
    pub(super) fn votes(&self, name: &str) -> Vec<String> {
        let key = format!("circuit_breaker:{{0}}:fleet:{name}:breaker");
        let fields = self.server.command(&["HKEYS", &key]);
        fields.lines().filter(|field| field.starts_with("v:")).map(str::to_owned).collect()
    }

    /// How many scripts about breakers the server has carried out.
    pub(super) fn scripts(&self) -> u64 {
        let stats = self.server.command(&["INFO", "commandstats"]);
        let of = |command: &str| {
            let prefix = format!("cmdstat_{command}:calls=");
            let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
            line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap())
        };
        // Each beat adds to the set of replicas.
        of("evalsha") + of("eval") - of("zadd")
    }
}
