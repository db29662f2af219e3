//! Processes that are killed at random moments while they write.

use std::{path::Path, time::Duration};

use tower_breaker::{Breaker, SledStore, State, Trip};

use super::child::{Process, Trouble, say};

/// The child: counts up by failures, and forces a second circuit open and shut in turn. What it
/// says was acknowledged by `flush`.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn hammer(folder: &str) -> Result<(), Box<dyn std::error::Error>> {
    let store = SledStore::open(folder)?;
    let trouble = Trouble::default();
    let counter = Breaker::builder("counter")
        .on_event(trouble.listener())
        .trip_on(Trip::consecutive_failures(u32::MAX))
        .store(store.clone())
        .build()?;
    let switch = Breaker::builder("switch").on_event(trouble.listener()).store(store).build()?;
    trouble.wait_until_restored(&[counter.clone(), switch.clone()]);
    let mut count = counter.stats().consecutive_failures();
    say(&format!("{count} {}", switch.state()));
    loop {
        count += 1;
        counter.try_acquire()?.failure();
        if expected(count) == State::ForcedOpen {
            switch.force_open();
        } else {
            switch.disable();
        }
        counter.flush().await?;
        switch.flush().await?;
        say(&format!("{count} {}", switch.state()));
    }
}

/// The state of the switch at this count.
fn expected(count: u32) -> State {
    if count.is_multiple_of(2) { State::ForcedOpen } else { State::Disabled }
}

fn count(line: &str) -> u32 {
    line.split(' ').next().unwrap().parse().unwrap()
}

/// The next number of a small generator: the same moments at each run, all over the range.
pub(crate) fn next(random: &mut u64) -> u64 {
    *random =
        random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// One life of the process, from so many writes on; returns what was acknowledged.
fn round(folder: &Path, acknowledged: u32, writes: usize, life: Duration) -> u32 {
    let mut process = Process::start("hammer", folder, Duration::from_secs(60));
    let first = process.line().expect("the process starts, and says what it restored");
    let restored = count(&first);
    // One more than was said may have been stored before the kill.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&restored),
        "{acknowledged} became {restored}"
    );
    let state = first.split(' ').nth(1).unwrap();
    let as_acknowledged = acknowledged == 0 || state == expected(acknowledged).as_str();
    let one_later = state == expected(acknowledged + 1).as_str();
    assert!(as_acknowledged || one_later, "after {acknowledged}: {first}");
    let begun: Vec<_> = (0..writes).map_while(|_| process.line()).collect();
    std::thread::sleep(life);
    begun.into_iter().chain(process.kill()).last().map_or(restored, |line| count(&line))
}

#[test]
fn what_flush_acknowledged_survives_200_kills_at_random_moments() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = 7;
    let mut acknowledged = 0;
    for number in 0..200 {
        let life = Duration::from_micros(next(&mut random) % 20_000);
        // Some are killed before they have written anything, and some are not.
        let writes = if number % 4 == 0 { 0 } else { 3 };
        acknowledged = round(folder.path(), acknowledged, writes, life);
    }
    // Else the kills came before anything was written, and nothing was shown.
    assert!(acknowledged > 400, "only {acknowledged} writes in 200 rounds");
}
