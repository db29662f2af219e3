//! The thread of a fleet: submits what its breakers decide, takes over what others have decided,
//! and holds the leases.
//!
//! It alone talks to the server, but for the [reader of news](super::news). A server that does not
//! answer delays this thread and nothing else.

mod counting;
mod inquiring;
mod joining;
mod probing;
mod rounds;
mod settling;

use std::{
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use smol_str::SmolStr;

use super::{
    attached::Attaching,
    counting::Counting,
    entry::FleetEntry,
    health::ConnectionHealth,
    inquiries::Inquiries,
    leases::Leases,
    message::{Message, News},
    news::Signals,
    protocol::{clock::ClockWatch, command::FleetCommand, counts::Ledger, record::Micros},
    retry_pause::RetryPause,
    rounds::FleetRounds,
    settings::Settings,
    transport::{Beat, Transport, micros},
};
use crate::{
    store::StoreError,
    sync::{log, panic_message},
};

/// The time between two looks whether the server still knows what it knew.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often what the server keeps is refreshed: well before it expires.
const REFRESH_INTERVAL: Duration = Duration::from_secs(8 * 3600);

/// How long breakers are checked in a row, where thousands have changed at once, before messages
/// are taken: news of the others must not wait for all of them.
const TURN: Duration = Duration::from_millis(10);

pub(super) struct Agent {
    transport: Transport,
    settings: Arc<Settings>,
    health: Arc<ConnectionHealth>,
    receiver: Receiver<Message>,
    /// Tells the reader of news to begin anew.
    signals: Arc<Signals>,
    breakers: HashMap<u64, SharedBreaker>,
    /// The breakers of each name.
    names: HashMap<SmolStr, Vec<u64>>,
    /// The breakers to look at.
    changed: BTreeSet<u64>,
    /// The last of them that was looked at.
    last_changed: u64,
    /// The breakers to look at later.
    later: BTreeSet<(Instant, u64)>,
    /// What breakers that are gone give back.
    released: Vec<Released>,
    /// Breakers that are built, until their state is the fleet's or the fleet is not reached.
    attaching: Vec<Attaching>,
    link: Link,
    /// Whether news is read.
    is_reading: bool,
    rounds: FleetRounds,
    retry_at: Instant,
    /// When the last attempt failed.
    last_failure: Option<Instant>,
    beat_at: Instant,
    refresh_at: Instant,
    last_beat: Option<Beat>,
    /// The number of the last entry of news that was read.
    news_read: u64,
    inquiries: Inquiries,
    counting: Counting,
    clock: ClockWatch,
    started: Instant,
}

/// What the breaker of this name, which is gone, gives back.
struct Released {
    name: SmolStr,
    command: FleetCommand,
    /// Whether it has come too late before.
    is_last: bool,
    /// When it is of no use any more: what is given back has lapsed by itself.
    until: Instant,
}

/// Whether the fleet is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// No attempt has ended yet.
    Starting,
    Alone,
    Joined,
}

struct SharedBreaker {
    entry: FleetEntry,
    leases: Leases,
    counts: Ledger,
    later: Option<Instant>,
    /// Nothing is submitted before this time, as the attempts so far have come to nothing.
    paused_until: Option<Instant>,
    pause: RetryPause,
    /// Whether its state has been asked for.
    is_attached: bool,
    /// Whether the server answers nothing usable about it, so that it decides alone.
    is_left_out: bool,
    /// Whether that was logged.
    is_reported: bool,
}

impl SharedBreaker {
    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

impl Agent {
    pub(super) fn new(
        transport: Transport,
        settings: Arc<Settings>,
        health: Arc<ConnectionHealth>,
        receiver: Receiver<Message>,
        signals: Arc<Signals>,
    ) -> Self {
        let now = Instant::now();
        let clock = ClockWatch::new(micros(settings.timeout));
        Self {
            transport,
            settings,
            health,
            receiver,
            signals,
            breakers: HashMap::new(),
            names: HashMap::new(),
            changed: BTreeSet::new(),
            last_changed: 0,
            later: BTreeSet::new(),
            released: Vec::new(),
            attaching: Vec::new(),
            link: Link::Starting,
            is_reading: false,
            rounds: FleetRounds::new(now),
            retry_at: now,
            last_failure: None,
            beat_at: now,
            refresh_at: now + REFRESH_INTERVAL,
            last_beat: None,
            news_read: 0,
            inquiries: Inquiries::default(),
            counting: Counting::default(),
            clock,
            started: now,
        }
    }

    /// Works until the fleet is gone. After a panic, every breaker decides alone, and joins again.
    pub(super) fn run(mut self) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve())) {
            let reason = format!("its thread panicked: {}", panic_message(&*panic));
            log(|| {
                tracing::error!(
                    target: "tower_breaker",
                    reason,
                    "fleet of circuit breakers: {reason}; this is a bug, please report it",
                );
            });
            self.go_alone(&reason);
        }
    }

    /// For another attempt to start the thread.
    pub(super) fn into_receiver(self) -> Receiver<Message> {
        self.receiver
    }

    fn serve(&mut self) {
        loop {
            let wait = self.next_moment().saturating_duration_since(Instant::now());
            let mut next = match self.receiver.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.leave(),
            };
            while let Some(message) = next {
                if matches!(message, Message::Stop) {
                    return self.leave();
                }
                self.take(message);
                next = self.receiver.try_recv().ok();
            }
            self.work();
            // A breaker that is built is among those to look at.
            let has_looked = self.changed.is_empty() || self.link == Link::Alone;
            if self.link != Link::Starting && has_looked {
                self.attaching.clear();
            }
        }
    }

    fn is_joined(&self) -> bool {
        self.link == Link::Joined
    }

    fn next_moment(&self) -> Instant {
        if !self.is_joined() {
            // Without a reader of news there is nothing to try: it says when it reads.
            return if self.is_reading { self.retry_at } else { Instant::now() + BEAT_INTERVAL };
        }
        if !self.changed.is_empty() || !self.released.is_empty() || self.rounds.is_joining() {
            return Instant::now();
        }
        let later = self.later.first().map(|(at, _)| *at);
        [
            Some(self.beat_at),
            Some(self.refresh_at),
            later,
            self.inquiries.next_moment(),
            self.counting.next_moment(),
            self.rounds.next_moment(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.beat_at)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Attach(entry, attaching) => {
                let id = entry.id;
                self.names.entry(entry.name.clone()).or_default().push(id);
                let shared = SharedBreaker {
                    entry: *entry,
                    leases: Leases::new(),
                    counts: Ledger::default(),
                    later: None,
                    paused_until: None,
                    pause: RetryPause::default(),
                    is_attached: false,
                    is_left_out: false,
                    is_reported: false,
                };
                self.breakers.insert(id, shared);
                self.changed.insert(id);
                self.attaching.push(attaching);
            }
            Message::Detach(id) => self.detach(id),
            Message::Changed(id) => {
                self.changed.insert(id);
            }
            Message::Reading { serial } => {
                (self.is_reading, self.rounds.must_join) = (true, true);
                self.news_read = serial;
                self.retry_at = Instant::now();
            }
            Message::NotReading(error) => {
                self.is_reading = false;
                self.go_alone(&error.to_string());
            }
            Message::Gap { serial } => {
                self.rounds.must_join = true;
                self.news_read = serial;
            }
            Message::News { news, now, received, serial } => {
                self.news_read = serial;
                for one in news {
                    self.learn(&one, now + micros(received.elapsed()));
                }
            }
            Message::Counted(id) => self.counting.add(id),
            Message::Ask(ask) => self.inquiries.new.push(ask),
            Message::Asked { question, name } => self.inquiries.asked.push((question, name)),
            Message::Stop => {}
        }
    }

    fn learn(&mut self, news: &News, now: Micros) {
        for id in self.names.get(&news.name).into_iter().flatten() {
            let Some(SharedBreaker { entry, .. }) = self.breakers.get_mut(id) else { continue };
            if news.record.fence < entry.member.seen().fence {
                self.rounds.outdated.insert(*id);
            }
            if let Some(view) = entry.view() {
                entry.note_remark(news.record.fence, news.remark.clone());
                entry.learn(news.record.for_at_most(news.lasts, now), now, &view);
            }
            self.changed.insert(*id);
        }
    }

    fn work(&mut self) {
        if let Err(error) = self.try_work() {
            self.go_alone(&error.to_string());
        }
        if self.link == Link::Alone {
            self.inquiries.fail(&self.health.get().to_string());
        }
    }

    fn try_work(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if !self.is_joined() && (!self.is_reading || now < self.retry_at) {
            return Ok(());
        }
        if !self.is_joined() || now >= self.beat_at {
            self.beat()?;
        }
        if self.rounds.must_join || now >= self.refresh_at {
            self.begin_round();
        }
        if !self.is_joined() {
            self.link_up();
        }
        self.tell_again(now);
        while let Some((at, id)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, id));
            self.changed.insert(id);
        }
        self.send_released()?;
        let ends = Instant::now() + TURN;
        while Instant::now() < ends && !self.changed.is_empty() {
            let ids = self.next_changed(self.transport.pace.size());
            self.settle_or_keep(&ids)?;
        }
        self.join_some()?;
        self.reassert_some()?;
        if self.counting.next_moment().is_some_and(|at| at <= now) {
            self.send_counts()?;
        }
        self.serve_inquiries()
    }

    /// Takes the next breakers to look at, each in its turn, and at most `most`.
    fn next_changed(&mut self, most: usize) -> Vec<u64> {
        let after = self.changed.range(self.last_changed + 1..);
        let before = self.changed.range(..=self.last_changed);
        let ids: Vec<u64> = after.chain(before).take(most).copied().collect();
        for id in &ids {
            self.changed.remove(id);
        }
        self.last_changed = ids.last().copied().unwrap_or(self.last_changed);
        ids
    }

    fn detach(&mut self, id: u64) {
        let Some(SharedBreaker { entry, leases, later, .. }) = self.breakers.remove(&id) else {
            return;
        };
        if let Some(ids) = self.names.get_mut(&entry.name) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.names.remove(&entry.name);
            }
        }
        if let Some(at) = later {
            self.later.remove(&(at, id));
        }
        self.rounds.forget(id);
        self.release(&entry, &leases);
        // It may live on without its group.
        entry.set_joined(false);
    }
}

#[cfg(test)]
mod tests;
