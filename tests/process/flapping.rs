//! A hundred breakers that flap in a process that is killed at random moments, on each store.
//!
//! `BREAKER_KILLS` says how many rounds; by default it is 100 for each store.

use std::{error::Error, path::Path, time::Duration};

use tower_breaker::{Breaker, ConfigError, FileStore, SledStore, State, StateStore, Trip};

use super::{
    child::{Process, Trouble, say},
    hammer::next,
};

const BREAKERS: usize = 100;
const FLUSHED_AT_ONCE: usize = 10;
/// Every fifth breaker trips on its own; the others are set by hand, and count.
const TRIPS_EACH: usize = 5;
/// In microseconds.
const LONGEST_LIFE: u64 = 60_000;
const OPEN_TIME: Duration = Duration::from_millis(400);

/// The child: makes every breaker flap, and says what `flush` acknowledged.
pub(crate) fn flap(folder: &str, store: &str) -> Result<(), Box<dyn Error>> {
    match store {
        "sled" => flap_on(&SledStore::open(folder)?),
        "file" => flap_on(&FileStore::open(folder)?),
        other => Err(format!("there is no store {other}").into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn flap_on(store: &(impl StateStore + Clone)) -> Result<(), Box<dyn Error>> {
    let trouble = Trouble::default();
    let breakers = (0..BREAKERS).map(|number| flapping(number, store.clone(), &trouble));
    let breakers = breakers.collect::<Result<Vec<_>, _>>()?;
    trouble.wait_until_restored(&breakers);
    let restored: Vec<String> = breakers.iter().map(describe).collect();
    say(&restored.join(" "));
    loop {
        for (batch, some) in breakers.chunks(FLUSHED_AT_ONCE).enumerate() {
            for (index, breaker) in some.iter().enumerate() {
                step(batch * FLUSHED_AT_ONCE + index, breaker)?;
            }
            // Read before the flush: a circuit may go on while it waits.
            let counts: Vec<String> = some.iter().map(|one| count(one).to_string()).collect();
            for breaker in some {
                breaker.flush().await?;
            }
            say(&format!("{batch} {}", counts.join(" ")));
        }
    }
}

fn flapping(
    number: usize,
    store: impl StateStore,
    trouble: &Trouble,
) -> Result<Breaker, ConfigError> {
    let failures = if trips(number) { 1 } else { u32::MAX };
    Breaker::builder(format!("breaker/{number}"))
        .trip_on(Trip::consecutive_failures(failures))
        .recovery_timeout(OPEN_TIME)
        .on_event(trouble.listener())
        .store(store)
        .build()
}

fn trips(number: usize) -> bool {
    number.is_multiple_of(TRIPS_EACH)
}

fn step(number: usize, breaker: &Breaker) -> Result<(), Box<dyn Error>> {
    if trips(number) {
        if let Ok(permit) = breaker.try_acquire() {
            permit.failure();
        }
        return Ok(());
    }
    // This one counts a failure, and never trips of it.
    breaker.metrics_only();
    breaker.try_acquire()?.failure();
    if set_by_hand(count(breaker)) == State::ForcedOpen {
        breaker.force_open();
    } else {
        breaker.disable();
    }
    Ok(())
}

fn count(breaker: &Breaker) -> u32 {
    breaker.stats().consecutive_failures()
}

/// The state in which a step leaves a breaker with this count.
fn set_by_hand(count: u32) -> State {
    if count.is_multiple_of(2) { State::ForcedOpen } else { State::Disabled }
}

/// The count, the state, and the milliseconds that are left of the open time.
fn describe(breaker: &Breaker) -> String {
    let (state, count) = (breaker.state(), count(breaker));
    let left = match state {
        State::Open => breaker.try_acquire().err().and_then(|rejected| rejected.retry_after()),
        _ => None,
    };
    format!("{count},{state},{}", left.unwrap_or_default().as_millis())
}

/// One life of the process; `acknowledged` is what each breaker must have.
fn round(
    store: &str,
    folder: &Path,
    acknowledged: &mut [u32],
    life: Duration,
    waits: bool,
) -> usize {
    let mut process =
        Process::start_by(&std::env::current_exe().unwrap(), "flapping", folder, OPEN_TIME, |it| {
            it.env(super::child::STORE, store);
        });
    let restored = process.line().expect("the process starts, and says what it restored");
    for (number, one) in restored.split(' ').enumerate() {
        // What was restored was stored, and has to be there the next time too.
        acknowledged[number] = check(number, one, acknowledged[number]);
    }
    // Some are killed before they have stored anything, and some are not.
    let begun = if waits { process.line() } else { None };
    std::thread::sleep(life);
    let said: Vec<String> = begun.into_iter().chain(process.kill()).collect();
    for line in &said {
        let mut words = line.split(' ').map(|word| word.parse::<usize>().unwrap());
        let first = words.next().unwrap() * FLUSHED_AT_ONCE;
        for (place, count) in acknowledged[first..].iter_mut().zip(words) {
            *place = u32::try_from(count).unwrap();
        }
    }
    said.len()
}

/// Returns the count.
fn check(number: usize, restored: &str, acknowledged: u32) -> u32 {
    let words: Vec<&str> = restored.split(',').collect();
    let (count, state): (u32, _) = (words[0].parse().unwrap(), words[1]);
    let left = Duration::from_millis(words[2].parse().unwrap());
    assert!(left <= OPEN_TIME, "breaker {number} is open for {left:?}");
    if trips(number) {
        assert!(["closed", "open", "half_open"].contains(&state), "breaker {number}: {restored}");
        return count;
    }
    // The kill may have come in the middle of the next step.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&count),
        "breaker {number}: {acknowledged} became {restored}"
    );
    let whole = state == set_by_hand(count).as_str() || (count == 0 && state == "closed");
    assert!(whole || state == "metrics_only", "breaker {number}: {restored}");
    count
}

fn rounds() -> u32 {
    std::env::var("BREAKER_KILLS").map_or(100, |rounds| rounds.parse().expect("a number"))
}

fn survives_kills(store: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state");
    let mut acknowledged = vec![0; BREAKERS];
    let (mut random, mut batches) = (11, 0);
    for number in 0..rounds() {
        let life = Duration::from_micros(next(&mut random) % LONGEST_LIFE);
        let waits = !number.is_multiple_of(4);
        batches += round(store, &folder, &mut acknowledged, life, waits);
    }
    println!("{store}: {} rounds, {batches} batches acknowledged", rounds());
    // Else nothing was shown.
    assert!(batches >= rounds() as usize / 2, "only {batches} batches");
}

#[test]
fn a_hundred_breakers_on_sled_survive_kills_at_random_moments() {
    survives_kills("sled");
}

#[test]
fn a_hundred_breakers_in_files_survive_kills_at_random_moments() {
    survives_kills("file");
}
