//! Processes that are killed at random moments while they write to a store. Whatever the store has
//! acknowledged has to be there when the next process starts.
//!
//! `BREAKER_KILLS` sets the number of kills in each storm; the defaults are 50 to 200.

mod breakers;
mod large;
#[cfg(target_os = "linux")]
mod power;
mod records;

use std::{path::Path, time::Duration};

use crate::support::{
    child::Role,
    kind::{Around, Kind},
    random::Random,
};

pub(crate) use self::{
    breakers::{BREAKERS, flap},
    large::{LARGE, save},
    records::{RECORDS, write},
};

/// What the processes of a storm do, and what their parent checks.
trait Load {
    const ROLE: &'static str;

    /// The arguments of the role.
    fn arguments(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Checks what a new process has restored: the first line that it says.
    fn restored(&mut self, line: &str);

    /// Takes note of a line that the process said after the store had acknowledged a write.
    fn acknowledged(&mut self, line: &str);

    /// Checks the store between two processes.
    fn inspect(&self, _kind: Kind, _folder: &Path) {}
}

struct Storm {
    kills: u32,
    /// For how long a process writes, at most.
    longest_life: Duration,
    /// How many acknowledgements most processes give before their time runs.
    head_start: usize,
}

impl Storm {
    /// Returns the number of acknowledged writes for each kill.
    fn strike(&self, kind: Kind, load: &mut impl Load) -> f64 {
        let Some(around) = Around::of(kind) else { return f64::INFINITY };
        let folder = around.path().join("state");
        let kills = std::env::var("BREAKER_KILLS")
            .map_or(self.kills, |kills| kills.parse().expect("BREAKER_KILLS is a number"));
        let (mut random, mut acknowledged) = (Random::new(11), 0);
        for kill in 0..kills {
            // Every fourth process may be killed before it has written anything.
            let head_start = if kill.is_multiple_of(4) { 0 } else { self.head_start };
            let limit = u64::try_from(self.longest_life.as_micros()).unwrap();
            let life = Duration::from_micros(random.below(limit));
            acknowledged += live(kind, &folder, load, head_start, life);
            load.inspect(kind, &folder);
        }
        println!("{}, {}: {kills} kills, {acknowledged} acknowledged", kind.name(), role_of(load));
        f64::from(acknowledged) / f64::from(kills)
    }
}

fn role_of<L: Load>(_: &L) -> &'static str {
    L::ROLE
}

/// The life of one process. Returns the number of acknowledged writes.
fn live<L: Load>(
    kind: Kind,
    folder: &Path,
    load: &mut L,
    head_start: usize,
    life: Duration,
) -> u32 {
    let mut role = Role::new(L::ROLE).argument("KIND", kind.name()).argument("FOLDER", folder);
    for (name, value) in load.arguments() {
        role = role.argument(name, value);
    }
    let mut process = role.start();
    load.restored(&process.line().expect("the process starts and says what it has restored"));
    let first: Vec<_> = (0..head_start).map_while(|_| process.line()).collect();
    std::thread::sleep(life);
    let mut acknowledged = 0;
    for line in first.into_iter().chain(process.kill()) {
        load.acknowledged(&line);
        acknowledged += 1;
    }
    acknowledged
}

fn a_hundred_breakers(kind: Kind) {
    let storm = Storm { kills: 100, longest_life: Duration::from_millis(60), head_start: 1 };
    let acknowledged = storm.strike(kind, &mut breakers::Flapping::new(100, 10));
    // Otherwise the kills came before anything was written.
    assert!(acknowledged >= 0.5, "{acknowledged} for each kill");
}

fn a_few_breakers(kind: Kind) {
    let storm = Storm { kills: 200, longest_life: Duration::from_millis(20), head_start: 3 };
    let acknowledged = storm.strike(kind, &mut breakers::Flapping::new(3, 3));
    assert!(acknowledged > 2.0, "{acknowledged} for each kill");
}

fn records(kind: Kind) {
    let storm = Storm { kills: 50, longest_life: Duration::from_millis(20), head_start: 2 };
    let acknowledged = storm.strike(kind, &mut records::Records::default());
    assert!(acknowledged > 1.0, "{acknowledged} for each kill");
}

fn large_saves(kind: Kind) {
    let storm = Storm { kills: 20, longest_life: Duration::from_millis(20), head_start: 1 };
    let acknowledged = storm.strike(kind, &mut large::LargeSaves::new());
    assert!(acknowledged >= 0.5, "{acknowledged} for each kill");
}

/// Every storm on every kind of store.
macro_rules! storms {
    ($($store:ident: $kind:expr),+ $(,)?) => { $(
        mod $store {
            use crate::support::kind::Kind;

            #[test]
            fn a_hundred_breakers_keep_what_flush_acknowledged() {
                super::a_hundred_breakers($kind);
            }

            #[test]
            fn a_few_breakers_keep_what_flush_acknowledged() {
                super::a_few_breakers($kind);
            }

            #[test]
            fn every_record_that_was_acknowledged_is_kept() {
                super::records($kind);
            }

            #[test]
            fn every_large_save_that_was_acknowledged_is_kept() {
                super::large_saves($kind);
            }
        }
    )+ };
}

storms! { sled: Kind::Sled, file: Kind::File, redb: Kind::Redb, redis: Kind::Redis }
