//! Breakers that change all the time, each flushed after its changes.

use std::{path::Path, time::Duration};

use tower_breaker::{Breaker, ConfigError, State, StateStore, Trip};

use super::Load;
use crate::{
    support::{
        child::{RoleResult, argument, say},
        kind::Kind,
    },
    trouble::Trouble,
};

pub(crate) const BREAKERS: &str = "breakers";
const OPEN_TIME: Duration = Duration::from_millis(400);

/// What a breaker does, by its number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Trips, and recovers by time.
    Trips,
    /// Counts failures, without a transition.
    Counts,
    /// Counts failures, and is set by hand after each.
    SetByHand,
}

impl Behaviour {
    fn of(number: usize) -> Self {
        match number % 5 {
            0 => Self::Trips,
            1 => Self::Counts,
            _ => Self::SetByHand,
        }
    }
}

/// The role: changes every breaker in turn, and says each batch of counts once it is flushed.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn flap() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let (breakers, batch): (usize, usize) =
        (argument("BREAKERS").parse()?, argument("BATCH").parse()?);
    let trouble = Trouble::default();
    let breakers = (0..breakers).map(|number| breaker(number, store.clone(), &trouble));
    let breakers = breakers.collect::<Result<Vec<_>, _>>()?;
    trouble.wait_until_restored(&breakers);
    let restored: Vec<String> = breakers.iter().map(describe).collect();
    say(&restored.join(" "));
    loop {
        for (number, some) in breakers.chunks(batch).enumerate() {
            for (index, breaker) in some.iter().enumerate() {
                change(number * batch + index, breaker)?;
            }
            // Read before the flush: the counts of a circuit that recovers meanwhile change.
            let counts: Vec<String> = some.iter().map(|one| count(one).to_string()).collect();
            for breaker in some {
                breaker.flush().await?;
            }
            say(&format!("{number} {}", counts.join(" ")));
        }
    }
}

fn breaker(
    number: usize,
    store: impl StateStore,
    trouble: &Trouble,
) -> Result<Breaker, ConfigError> {
    let failures = if Behaviour::of(number) == Behaviour::Trips { 1 } else { u32::MAX };
    Breaker::builder(format!("breaker/{number}"))
        .trip_on(Trip::consecutive_failures(failures))
        .recovery_timeout(OPEN_TIME)
        .on_event(trouble.listener())
        .store(store)
        .build()
}

fn change(number: usize, breaker: &Breaker) -> RoleResult {
    match Behaviour::of(number) {
        Behaviour::Trips => {
            if let Ok(permit) = breaker.try_acquire() {
                permit.failure();
            }
        }
        Behaviour::Counts => breaker.try_acquire()?.failure(),
        Behaviour::SetByHand => {
            // In this state it counts the failure, and admits the call.
            breaker.metrics_only();
            breaker.try_acquire()?.failure();
            if set_by_hand(count(breaker)) == State::ForcedOpen {
                breaker.force_open();
            } else {
                breaker.disable();
            }
        }
    }
    Ok(())
}

fn count(breaker: &Breaker) -> u32 {
    breaker.stats().consecutive_failures()
}

/// The state of a breaker that was set by hand at this count.
fn set_by_hand(count: u32) -> State {
    if count.is_multiple_of(2) { State::ForcedOpen } else { State::Disabled }
}

/// The count, the state, and the milliseconds left of the open time.
fn describe(breaker: &Breaker) -> String {
    let (state, count) = (breaker.state(), count(breaker));
    let left = match state {
        State::Open => breaker.try_acquire().err().and_then(|rejected| rejected.retry_after()),
        _ => None,
    };
    format!("{count},{state},{}", left.unwrap_or_default().as_millis())
}

/// The counts that were acknowledged for each breaker.
pub(super) struct Flapping {
    acknowledged: Vec<u32>,
    batch: usize,
}

impl Flapping {
    pub(super) fn new(breakers: usize, batch: usize) -> Self {
        Self { acknowledged: vec![0; breakers], batch }
    }
}

impl Load for Flapping {
    const ROLE: &'static str = BREAKERS;

    fn arguments(&self) -> Vec<(&'static str, String)> {
        let breakers = self.acknowledged.len();
        vec![("BREAKERS", breakers.to_string()), ("BATCH", self.batch.to_string())]
    }

    fn restored(&mut self, line: &str) {
        assert_eq!(line.split(' ').count(), self.acknowledged.len());
        for (number, one) in line.split(' ').enumerate() {
            // What was restored was stored, so the next process has to restore it too.
            self.acknowledged[number] = check(number, one, self.acknowledged[number]);
        }
    }

    fn acknowledged(&mut self, line: &str) {
        let mut words = line.split(' ').map(|word| word.parse::<usize>().unwrap());
        let first = words.next().unwrap() * self.batch;
        for (acknowledged, count) in self.acknowledged[first..].iter_mut().zip(words) {
            *acknowledged = u32::try_from(count).unwrap();
        }
    }
}

/// Checks what a breaker has restored, and returns its count.
fn check(number: usize, restored: &str, acknowledged: u32) -> u32 {
    let words: Vec<&str> = restored.split(',').collect();
    let (count, state): (u32, _) = (words[0].parse().unwrap(), words[1]);
    let left = Duration::from_millis(words[2].parse().unwrap());
    assert!(left <= OPEN_TIME, "breaker {number} is open for {left:?}");
    let is_right = match Behaviour::of(number) {
        Behaviour::Trips => ["closed", "open", "half_open"].contains(&state),
        Behaviour::Counts => state == "closed",
        Behaviour::SetByHand => {
            let is_new = count == 0 && state == "closed";
            // The kill may have come in the middle of the next change.
            is_new || state == set_by_hand(count).as_str() || state == "metrics_only"
        }
    };
    assert!(is_right, "breaker {number}: {restored}");
    let expected = acknowledged..=acknowledged + 1;
    let is_exact = Behaviour::of(number) != Behaviour::Trips;
    assert!(
        !is_exact || expected.contains(&count),
        "breaker {number}: {acknowledged} became {restored}"
    );
    count
}
