//! The thread of a fleet: submits what its breakers decide, takes over what others have decided,
//! and holds the leases.
//!
//! It alone talks to the server, but for the [reader of news](super::news). A server that does not
//! answer delays this thread and nothing else.

use std::{
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use smol_str::SmolStr;

use super::{
    entry::{Entry, Submission, to_micros},
    health::Health,
    leases::{Leases, Wish},
    message::{Message, News},
    news::Signals,
    protocol::{
        command::{Request, Status},
        member::Next,
        record::Micros,
    },
    settings::Settings,
    transport::{Beat, CallError, Transport, micros},
};
use crate::{store::StoreError, sync::panic_message};

/// The time between two looks whether the server still knows what it knew.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often what the server keeps is refreshed: well before it expires.
const REFRESH_INTERVAL: Duration = Duration::from_secs(8 * 3600);
/// How soon a breaker whose key is broken is tried again.
const REPAIR_INTERVAL: Duration = Duration::from_secs(10);
/// How many states are asked for at once.
const BATCH: usize = 200;
/// How often a decision is submitted in a row: each time, another replica was faster.
const ATTEMPTS: usize = 8;

pub(super) struct Agent {
    transport: Transport,
    settings: Arc<Settings>,
    health: Arc<Health>,
    receiver: Receiver<Message>,
    /// Tells the reader of news to begin anew.
    signals: Arc<Signals>,
    breakers: HashMap<u64, Shared>,
    /// The breakers of each name.
    names: HashMap<SmolStr, Vec<u64>>,
    /// The breakers to look at.
    changed: BTreeSet<u64>,
    /// The breakers to look at later.
    later: BTreeSet<(Instant, u64)>,
    /// Threads that build a breaker, until its state is the fleet's or the fleet is not reached.
    building: Vec<Sender<()>>,
    link: Link,
    /// Whether news are read.
    is_reading: bool,
    /// Whether all states must be asked for.
    must_join: bool,
    retry_at: Instant,
    beat_at: Instant,
    refresh_at: Instant,
    last_beat: Option<Beat>,
    /// The number of the last news that were read.
    news_read: u64,
}

/// Whether the fleet is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// No attempt has ended yet.
    Starting,
    Alone,
    Joined,
}

struct Shared {
    entry: Entry,
    leases: Leases,
    later: Option<Instant>,
    /// Whether its state has been asked for.
    is_attached: bool,
    /// Whether the server answers nothing usable about it, so that it decides alone.
    is_left_out: bool,
    /// Whether that was logged.
    is_reported: bool,
}

impl Agent {
    pub(super) fn new(
        transport: Transport,
        settings: Arc<Settings>,
        health: Arc<Health>,
        receiver: Receiver<Message>,
        signals: Arc<Signals>,
    ) -> Self {
        let now = Instant::now();
        Self {
            transport,
            settings,
            health,
            receiver,
            signals,
            breakers: HashMap::new(),
            names: HashMap::new(),
            changed: BTreeSet::new(),
            later: BTreeSet::new(),
            building: Vec::new(),
            link: Link::Starting,
            is_reading: false,
            must_join: true,
            retry_at: now,
            beat_at: now,
            refresh_at: now + REFRESH_INTERVAL,
            last_beat: None,
            news_read: 0,
        }
    }

    /// Works until the fleet is gone. After a panic, every breaker decides alone, and joins again.
    pub(super) fn run(mut self) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve())) {
            let reason = format!("its thread panicked: {}", panic_message(&*panic));
            tracing::error!(
                target: "tower_breaker",
                reason,
                "fleet of circuit breakers: {reason}; this is a bug, please report it",
            );
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
                Err(RecvTimeoutError::Disconnected) => return self.return_leases(),
            };
            while let Some(message) = next {
                if matches!(message, Message::Stop) {
                    return self.return_leases();
                }
                self.take(message);
                next = self.receiver.try_recv().ok();
            }
            self.work();
            if self.link != Link::Starting {
                for builder in self.building.drain(..) {
                    // It may have given up.
                    let _ = builder.send(());
                }
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
        let later = self.later.first().map(|(at, _)| *at);
        [Some(self.beat_at), Some(self.refresh_at), later]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.beat_at)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Attach(entry, builder) => {
                let id = entry.id;
                self.names.entry(entry.name.clone()).or_default().push(id);
                let shared = Shared {
                    entry: *entry,
                    leases: Leases::new(),
                    later: None,
                    is_attached: false,
                    is_left_out: false,
                    is_reported: false,
                };
                self.breakers.insert(id, shared);
                self.changed.insert(id);
                self.building.push(builder);
            }
            Message::Detach(id) => self.detach(id),
            Message::Changed(id) => {
                self.changed.insert(id);
            }
            Message::Reading { serial } => {
                (self.is_reading, self.must_join) = (true, true);
                self.news_read = serial;
                self.retry_at = Instant::now();
            }
            Message::NotReading(error) => {
                self.is_reading = false;
                self.go_alone(&error.to_string());
            }
            Message::Gap { serial } => {
                self.must_join = true;
                self.news_read = serial;
            }
            Message::News { news, now, received, serial } => {
                self.news_read = serial;
                for one in news {
                    self.learn(&one, now + micros(received.elapsed()));
                }
            }
            Message::Stop => {}
        }
    }

    fn learn(&mut self, news: &News, now: Micros) {
        for id in self.names.get(&news.name).into_iter().flatten() {
            let Some(Shared { entry, .. }) = self.breakers.get_mut(id) else { continue };
            if let Some(view) = entry.view() {
                entry.learn(news.record, now, &view);
            }
            self.changed.insert(*id);
        }
    }

    fn work(&mut self) {
        if let Err(error) = self.try_work() {
            self.go_alone(&error.to_string());
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
        if self.must_join || now >= self.refresh_at {
            self.join_all()?;
        }
        while let Some((at, id)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, id));
            self.changed.insert(id);
        }
        while let Some(id) = self.changed.pop_first() {
            if let Err(error) = self.settle(id) {
                self.changed.insert(id);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Asks whether the server still knows what it knew.
    fn beat(&mut self) -> Result<(), StoreError> {
        let beat = self.transport.beat()?;
        self.beat_at = Instant::now() + BEAT_INTERVAL;
        if let Some(last) = &self.last_beat {
            self.must_join |= beat.memory != last.memory || beat.news < last.news;
            // News that were there a second ago must have been read.
            if self.news_read < last.news && beat.memory == last.memory {
                self.signals.begin_anew.store(true, Ordering::Relaxed);
            }
        }
        self.last_beat = Some(beat);
        Ok(())
    }

    /// Tells the server the highest record that is known of each breaker, and asks for the newest.
    fn join_all(&mut self) -> Result<(), StoreError> {
        let ids: Vec<u64> = self.breakers.keys().copied().collect();
        for batch in ids.chunks(BATCH) {
            self.join(batch)?;
        }
        self.must_join = false;
        self.refresh_at = Instant::now() + REFRESH_INTERVAL;
        if !self.is_joined() {
            self.link = Link::Joined;
            self.health.set_joined();
            for shared in self.breakers.values_mut().filter(|shared| !shared.is_left_out) {
                shared.entry.set_joined(true);
                shared.is_attached = true;
            }
            self.changed.extend(ids);
        }
        Ok(())
    }

    fn join(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let mut views = Vec::new();
        for id in ids {
            let Some(Shared { entry, .. }) = self.breakers.get(id) else { continue };
            if let Some(view) = entry.view() {
                views.push((*id, view));
            }
        }
        let answers = {
            let commands: Vec<_> = views
                .iter()
                .map(|(id, view)| {
                    let entry = &self.breakers[id].entry;
                    (&*entry.name, entry.member.join(to_micros(view.now)))
                })
                .collect();
            self.transport.call_all(&commands)?
        };
        for ((id, view), answer) in views.iter().zip(answers) {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.leave_out(*id, &error);
                    continue;
                }
            };
            if let Some(Shared { entry, is_left_out, .. }) = self.breakers.get_mut(id) {
                *is_left_out = false;
                entry.learn(answer.record, answer.now, view);
                self.changed.insert(*id);
            }
        }
        Ok(())
    }

    /// Does for one breaker what there is to do, or leaves it out if its key is broken.
    fn settle(&mut self, id: u64) -> Result<(), StoreError> {
        match self.try_settle(id) {
            Err(CallError::Breaker(error)) => self.leave_out(id, &error),
            Err(CallError::Fleet(error)) => return Err(error),
            Ok(()) => {}
        }
        Ok(())
    }

    fn try_settle(&mut self, id: u64) -> Result<(), CallError> {
        let Some(shared) = self.breakers.get_mut(&id) else { return Ok(()) };
        shared.entry.clear_mark();
        if !shared.is_attached {
            self.join(&[id])?;
            let shared = self.breakers.get_mut(&id).filter(|shared| !shared.is_left_out);
            let Some(shared) = shared else { return Ok(()) };
            shared.entry.set_joined(true);
            shared.is_attached = true;
        }
        self.submit(id)?;
        self.hold_leases(id)?;
        if let Some(shared) = self.breakers.get_mut(&id) {
            shared.is_reported = false;
        }
        Ok(())
    }

    /// One breaker decides alone: the server's answers about it are of no use. It is tried again
    /// when it has something to tell, and now and then.
    fn leave_out(&mut self, id: u64, error: &StoreError) {
        let Some(shared) = self.breakers.get_mut(&id) else { return };
        shared.entry.set_joined(false);
        (shared.is_attached, shared.is_left_out) = (false, true);
        let at = Instant::now() + REPAIR_INTERVAL;
        if let Some(before) = shared.later.replace(at) {
            self.later.remove(&(before, id));
        }
        self.later.insert((at, id));
        if !std::mem::replace(&mut shared.is_reported, true) {
            let name = &*shared.entry.name;
            tracing::warn!(
                target: "tower_breaker",
                name,
                %error,
                "the key of circuit breaker {name} in the fleet's Redis is broken: this replica \
                 decides alone about it and keeps trying; delete the key: {error}",
            );
        }
    }

    /// Submits what the machine has decided.
    fn submit(&mut self, id: u64) -> Result<(), CallError> {
        let Self { transport, settings, breakers, .. } = self;
        let Some(Shared { entry, .. }) = breakers.get_mut(&id) else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let Some(view) = entry.view() else { return Ok(()) };
            if let Some(command) = entry.undecided(&view, settings) {
                let answer = transport.call(&entry.name, command)?;
                entry.forget_result();
                entry.learn(answer.record, answer.now, &view);
                continue;
            }
            let submission = entry.submission(&view, settings);
            let Submission::Send { decisions, decision, command, sent_at } = submission else {
                return Ok(());
            };
            let answer = transport.call(&entry.name, command)?;
            match entry.conclude(decisions, &decision, &answer, sent_at) {
                Next::Adopt(_) | Next::Keep => return Ok(()),
                Next::Again => {}
                Next::JoinFirst => {
                    let join = entry.member.join(sent_at);
                    let answer = transport.call(&entry.name, join)?;
                    entry.learn(answer.record, answer.now, &view);
                }
            }
        }
        Ok(())
    }

    fn hold_leases(&mut self, id: u64) -> Result<(), CallError> {
        let Self { transport, settings, breakers, .. } = self;
        let Some(Shared { entry, leases, .. }) = breakers.get_mut(&id) else { return Ok(()) };
        let Some(view) = entry.view() else { return Ok(()) };
        let fence = entry.member.seen().fence;
        let lasts = settings.lease;
        for wish in leases.wishes(&view, fence, lasts, Instant::now()) {
            let lease = match wish {
                Wish::Ask => fastrand::u64(1..),
                Wish::Renew(lease) => lease,
                Wish::Return(lease) => {
                    if entry.take_back(lease) {
                        let release = entry.member.command(Request::Release { lease });
                        transport.call(&entry.name, release)?;
                        leases.returned(lease);
                    }
                    continue;
                }
            };
            let max = view.config.probe_limit();
            let request = Request::Lease { lease, lasts: micros(lasts), max };
            // The lease runs from a moment before the server grants it.
            let sent_at = entry.view().map_or(view.now, |view| view.now);
            let answer = transport.call(&entry.name, entry.member.command(request))?;
            match answer.status {
                Status::Done => {
                    leases.granted(lease);
                    entry.grant(lease, sent_at.after(lasts));
                }
                Status::Denied { until } => {
                    let wait = Duration::from_micros(until.saturating_sub(answer.now));
                    leases.denied(wait, Instant::now());
                }
                Status::Behind => {
                    let join = entry.member.join(to_micros(view.now));
                    transport.call(&entry.name, join)?;
                    leases.denied(Duration::ZERO, Instant::now());
                }
                _ => {
                    entry.learn(answer.record, answer.now, &view);
                    leases.denied(Duration::ZERO, Instant::now());
                }
            }
        }
        self.look_later(id);
        Ok(())
    }

    /// Looks at a breaker again when its leases ask for it.
    fn look_later(&mut self, id: u64) {
        let Some(Shared { entry, leases, later, .. }) = self.breakers.get_mut(&id) else { return };
        if let Some(at) = later.take() {
            self.later.remove(&(at, id));
        }
        let Some(view) = entry.view() else { return };
        if let Some(wait) = leases.recheck_after(&view, self.settings.lease) {
            let at = Instant::now() + wait;
            *later = Some(at);
            self.later.insert((at, id));
        }
    }

    /// From here on, every breaker decides alone.
    fn go_alone(&mut self, reason: &str) {
        self.health.set_alone(reason);
        let pause = self.transport.pause().max(Duration::from_millis(50));
        self.retry_at = Instant::now() + pause;
        self.must_join = true;
        if std::mem::replace(&mut self.link, Link::Alone) == Link::Joined {
            for Shared { entry, .. } in self.breakers.values() {
                entry.set_joined(false);
            }
        }
    }

    fn detach(&mut self, id: u64) {
        let Some(Shared { entry, leases, later, .. }) = self.breakers.remove(&id) else { return };
        if let Some(ids) = self.names.get_mut(&entry.name) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.names.remove(&entry.name);
            }
        }
        if let Some(at) = later {
            self.later.remove(&(at, id));
        }
        self.release(&entry, &leases);
    }

    fn return_leases(&mut self) {
        for Shared { entry, leases, .. } in std::mem::take(&mut self.breakers).into_values() {
            self.release(&entry, &leases);
        }
    }

    /// Gives the leases of a breaker back that is gone. Without the server they expire.
    fn release(&mut self, entry: &Entry, leases: &Leases) {
        for lease in leases.held() {
            let release = entry.member.command(Request::Release { lease: *lease });
            if self.is_joined() && self.transport.call(&entry.name, release).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        fleet::{agreement::Agreement, keys::Keys},
        store::redis::Connector,
    };

    fn agent() -> Agent {
        let connector = Arc::new(Connector::new("redis://127.0.0.1:1").unwrap());
        let transport = Transport::new(connector, Keys::new("a"), Duration::from_secs(1));
        let settings = Settings {
            agreement: Agreement::any(),
            voter: 1,
            lease: Duration::from_secs(5),
            prefix: "a".to_owned(),
            timeout: Duration::from_secs(1),
        };
        let (settings, health) = (Arc::new(settings), Arc::new(Health::new()));
        Agent::new(transport, settings, health, mpsc::channel().1, Arc::default())
    }

    #[test]
    fn without_news_the_thread_sleeps_although_the_time_to_try_again_has_come() {
        let mut agent = agent();
        let unavailable = || StoreError::Unavailable("gone".into());
        agent.take(Message::NotReading(unavailable()));
        agent.retry_at = Instant::now();
        agent.work();
        assert!(agent.next_moment() > Instant::now() + BEAT_INTERVAL / 2);
        agent.take(Message::Reading { serial: 0 });
        assert!(agent.next_moment() <= Instant::now());
    }
}
