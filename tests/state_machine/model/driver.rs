//! The breaker under test, on a clock that is moved by hand.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    time::{Duration, SystemTime},
};

use tokio::sync::broadcast::{Receiver, error::TryRecvError};
use tower_breaker::{
    Breaker, Config, Event, Outcome, Permit, Rejected, State, Stats, clock::ManualClock,
    snapshot::Snapshot,
};

use super::{
    plan::Ending,
    reference::Decision,
    settings::Settings,
    stream::{Step, Stream},
};

/// A call under way.
enum Call {
    Plain(Permit),
    Streams(Stream),
}

pub(crate) struct Driver {
    breaker: Breaker,
    config: Config,
    clock: ManualClock,
    calls: HashMap<usize, Call>,
    events: Receiver<Event>,
    /// The events that said that the circuit would have opened.
    would_trips: u64,
}

impl Driver {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (config, clock) = (settings.config(), ManualClock::new());
        let builder = Breaker::builder("model").config(config.clone()).clock(clock.clone());
        Self::of(builder.build().expect("valid settings"), config, clock)
    }

    /// A breaker restored from a snapshot, at the time at which manual clocks start.
    pub(crate) fn restored(settings: &Settings, snapshot: Snapshot) -> Self {
        let (config, clock) = (settings.config(), ManualClock::new());
        let builder = Breaker::builder("model").config(config.clone()).clock(clock.clone());
        Self::of(builder.restore(snapshot).build().expect("valid settings"), config, clock)
    }

    fn of(breaker: Breaker, config: Config, clock: ManualClock) -> Self {
        let events = breaker.subscribe();
        Self { breaker, config, clock, calls: HashMap::new(), events, would_trips: 0 }
    }

    pub(crate) fn handle(&self) -> &Breaker {
        &self.breaker
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.breaker.snapshot()
    }

    pub(crate) fn state(&self) -> State {
        self.breaker.state()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.breaker.stats()
    }

    /// How often an event has said that the circuit would have opened.
    pub(crate) fn would_trips(&mut self) -> u64 {
        loop {
            match self.events.try_recv() {
                Ok(Event::WouldTrip(_)) => self.would_trips += 1,
                Ok(_) => {}
                Err(TryRecvError::Empty) => return self.would_trips,
                Err(error) => panic!("an event is lost: {error}"),
            }
        }
    }

    pub(crate) fn advance(&self, by: u64) {
        self.clock.advance(Duration::from_millis(by));
    }

    pub(crate) fn acquire(&mut self, slot: usize) -> Decision {
        let permit = self.breaker.try_acquire();
        self.decide(slot, permit.map(Call::Plain))
    }

    pub(crate) fn stream(&mut self, slot: usize, alive_after: u64) -> Decision {
        let stream = Stream::begin(&self.breaker, alive_after);
        self.decide(slot, stream.map(Call::Streams))
    }

    fn decide(&mut self, slot: usize, admitted: Result<Call, Rejected>) -> Decision {
        match admitted {
            Ok(call) => {
                assert!(self.calls.insert(slot, call).is_none(), "one call per slot");
                Decision { permitted: true, retry_after: None, rejected_by: None }
            }
            Err(rejected) => Decision {
                permitted: false,
                retry_after: rejected.retry_after().map(whole_millis),
                rejected_by: Some(rejected.state()),
            },
        }
    }

    fn take(&mut self, slot: usize) -> Call {
        self.calls.remove(&slot).expect("a call under way")
    }

    pub(crate) fn is_under_way(&self, slot: usize) -> bool {
        self.calls.contains_key(&slot)
    }

    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(crate) fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>) {
        let permit = match self.take(slot) {
            Call::Plain(permit) => permit,
            Call::Streams(mut stream) => {
                let is_good = matches!(ending, Ending::Success);
                return stream.poll(if is_good { Step::End } else { Step::Fail });
            }
        };
        let millis = |time: Option<u64>| time.map(Duration::from_millis);
        let outcome = match ending {
            Ending::Success => Outcome::Success,
            Ending::Failure(retry_after) => {
                Outcome::failure().with_retry_after(millis(retry_after))
            }
            Ending::Throttled(retry_after) => {
                Outcome::throttled().with_retry_after(millis(retry_after))
            }
            Ending::Ignore => Outcome::Ignore,
        };
        match took {
            Some(took) => permit.record(outcome, Duration::from_millis(took)),
            None => permit.finish(outcome),
        }
    }

    pub(crate) fn cancel(&mut self, slot: usize) {
        cancel(self.take(slot));
    }

    pub(crate) fn cancel_all(&mut self) {
        self.calls.drain().for_each(|(_, call)| cancel(call));
    }

    pub(crate) fn give_up(&mut self, slot: usize) {
        drop(self.take(slot));
    }

    pub(crate) fn panic(&mut self, slot: usize) {
        let permit = match self.take(slot) {
            Call::Plain(permit) => permit,
            Call::Streams(mut stream) => return stream.poll(Step::Panic),
        };
        // Resumed, because a panic that begins would be reported.
        let panics = || -> Result<(), ()> { panic::resume_unwind(Box::new("a call")) };
        let ended = panic::catch_unwind(AssertUnwindSafe(|| permit.call_blocking(panics)));
        assert!(ended.is_err(), "the panic propagates");
    }

    pub(crate) fn set_by_hand(&mut self, state: State, time: Option<u64>) {
        match (state, time.map(Duration::from_millis)) {
            (State::ForcedOpen, None) => self.breaker.force_open(),
            (State::ForcedOpen, Some(time)) => self.breaker.force_open_for(time),
            (State::Disabled, None) => self.breaker.disable(),
            (State::Disabled, Some(time)) => self.breaker.disable_for(time),
            (State::MetricsOnly, None) => self.breaker.metrics_only(),
            (State::MetricsOnly, Some(time)) => self.breaker.metrics_only_for(time),
            (other, _) => unreachable!("{other} cannot be set by hand"),
        }
    }

    pub(crate) fn trip(&mut self) {
        self.breaker.trip();
    }

    pub(crate) fn reset(&mut self) {
        self.breaker.reset();
    }

    pub(crate) fn update(&mut self, settings: &Settings) {
        self.config = settings.config();
        self.breaker.update(self.config.clone()).expect("valid settings");
    }

    pub(crate) fn jump_wall(&self, by: i64) {
        self.clock.set_wall(shifted(self.clock.wall(), by));
    }

    /// A new process, restored from the JSON of a snapshot. The wall clock has moved by `by`.
    pub(crate) fn restart(&mut self, by: i64) {
        let snapshot = self.breaker.snapshot();
        let text = snapshot.to_json().expect("a snapshot is JSON");
        let read = Snapshot::from_json(text.as_bytes()).expect("a snapshot is read back");
        assert_eq!(read, snapshot, "a snapshot survives JSON");
        self.clock = ManualClock::starting_at(shifted(self.clock.wall(), by));
        let builder = Breaker::builder("model").config(self.config.clone());
        let builder = builder.clock(self.clock.clone()).restore(read);
        self.breaker = builder.build().expect("valid settings");
        self.events = self.breaker.subscribe();
        // Results of the old process would reach a breaker that is no longer used.
        self.calls.clear();
    }
}

fn cancel(call: Call) {
    match call {
        Call::Plain(permit) => permit.cancel(),
        Call::Streams(stream) => drop(stream),
    }
}

fn shifted(wall: SystemTime, by: i64) -> SystemTime {
    let shift = Duration::from_millis(by.unsigned_abs());
    if by < 0 { wall - shift } else { wall + shift }
}

fn whole_millis(time: Duration) -> u64 {
    // A snapshot keeps times to the microsecond.
    let micros = time.as_micros();
    let millis = (micros + 500) / 1000;
    assert!(micros.abs_diff(millis * 1000) <= 1, "not whole milliseconds: {time:?}");
    u64::try_from(millis).expect("a time that fits")
}
