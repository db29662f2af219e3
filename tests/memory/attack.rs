//! What an attacker at one client can do, who invents a key for each call.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use tower::{Layer, service_fn};
use tower_breaker::{
    Breaker, Config, KeyedBreakers, KeyedCircuitBreakerLayer, MemoryStore, SledStore, State,
    StateStore, Trip, Window, registry::WhenFull,
};

use super::{alone, keyed::call};

/// How the calls of invented keys end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invented {
    Fail,
    Succeed,
    /// Every other one.
    Mixed,
}

impl Invented {
    const fn fails(self, key: u32) -> bool {
        match self {
            Self::Fail => true,
            Self::Succeed => false,
            Self::Mixed => key.is_multiple_of(2),
        }
    }
}

struct Attack {
    keys: u32,
    max_breakers: usize,
    invented: Invented,
    /// Whether every key has a breaker from its first call on.
    has_rates: bool,
    /// How many kilobytes the process may grow by. What other threads free stays allocated.
    most_grown: Growth,
}

struct Growth {
    /// From the first invented key on.
    in_all: usize,
    /// After the warm-up.
    after_warm_up: usize,
}

/// A store, as the attacked client sees it, and as its disk does.
struct Attacked<'a, S> {
    store: S,
    /// The folder that it fills.
    folder: Option<&'a Path>,
    /// After how many keys the stored snapshots are counted.
    counted_each: u32,
}

impl Attack {
    fn group(&self, store: impl StateStore) -> KeyedBreakers {
        let mut config = Config::default();
        config.recovery_timeout = Duration::from_secs(24 * 3600);
        if self.has_rates {
            config.trip_on.push(Trip::failure_rate(0.5, Window::calls(100)));
        }
        let builder = KeyedBreakers::builder("keys").config(config).max_open_ratio(0.5);
        builder.max_breakers(self.max_breakers).store(store).build().unwrap()
    }

    /// Returns figures, for a log.
    fn run(&self, attacked: &Attacked<'_, impl StateStore + Clone>) -> String {
        let Attacked { store, folder, counted_each } = attacked;
        let keys = self.group(store.clone());
        let layer = KeyedCircuitBreakerLayer::by_key(keys.clone(), |request: &(String, bool)| {
            Some(request.0.as_str().into())
        });
        let mut service = layer.layer(service_fn(async |(_, fails): (String, bool)| {
            if fails { Err(std::io::Error::other("down")) } else { Ok(()) }
        }));
        let mut request = |key: &str, fails| call(&mut service, (key.to_owned(), fails)).is_ok();
        for _ in 0..3 {
            request("good", true);
        }
        for _ in 0..5 {
            request("bad", true);
        }
        assert_eq!(keys.get("bad").unwrap().state(), State::Open);
        // What a call of a good key does: with a breaker, and with none.
        let healthy = |request: &mut dyn FnMut(&str, bool) -> bool| {
            measure(|| assert!(request("healthy", false))).count_total
        };
        healthy(&mut request);
        let before = healthy(&mut request);
        // Until every breaker has been replaced often, and all buffers have grown.
        let warm_up = (self.keys / 10).max(4 * u32::try_from(self.max_breakers).unwrap());
        let (began, mut most_stored, mut largest) = (Instant::now(), 0, 0);
        let mut report = String::new();
        let mut attack = |range: std::ops::Range<u32>| {
            for key in range {
                request(&format!("invented {key}"), self.invented.fails(key));
                if key.is_multiple_of(32) {
                    // In use, so that its state is kept: its calls neither succeed nor fail.
                    keys.get("good").expect("a good key's breaker").try_acquire().unwrap().cancel();
                    assert_eq!(healthy(&mut request), before, "what a healthy call allocates");
                }
                if key.is_multiple_of(*counted_each) {
                    let stored = store.load_page(None, usize::MAX).unwrap().len();
                    let (resident, disk) = (resident_kilobytes(), folder.map_or(0, size));
                    most_stored = most_stored.max(stored);
                    largest = largest.max(disk);
                    if key.is_multiple_of(self.keys / 10) {
                        let _ = writeln!(
                            report,
                            "{key} keys, {:.1} s: resident {resident} kB, {stored} snapshots, \
                             on disk {} kB",
                            began.elapsed().as_secs_f64(),
                            disk / 1024,
                        );
                    }
                }
            }
        };
        let at_first = resident_kilobytes();
        attack(0..warm_up);
        let warm = resident_kilobytes();
        attack(warm_up..self.keys);
        let [in_all, grown] =
            [at_first, warm].map(|before| resident_kilobytes().saturating_sub(before));
        assert_eq!(keys.get("good").unwrap().stats().consecutive_failures(), 3);
        assert_eq!(keys.get("bad").unwrap().state(), State::Open);
        assert!(!request("bad", false), "still rejected");
        assert!(keys.len() <= self.max_breakers);
        println!(
            "{:?}{}: {in_all} kB more, {grown} kB after the warm-up, at most {most_stored} \
             snapshots and {} kB on disk, {:?}, {:.1} s\n{report}",
            self.invented,
            if self.has_rates { ", with rates" } else { "" },
            largest / 1024,
            keys.stats(),
            began.elapsed().as_secs_f64(),
        );
        assert!(in_all < self.most_grown.in_all, "{in_all} kB");
        assert!(grown < self.most_grown.after_warm_up, "{grown} kB after the warm-up");
        assert!(most_stored <= 2 * self.max_breakers + 100, "{most_stored} snapshots");
        assert!(largest <= MAX_DISK, "{largest} bytes on disk");
        report
    }
}

/// A log-structured store has old values too, until it has collected them.
const MAX_DISK: u64 = 512 << 20;

/// The memory of the process; 0 where the system does not say.
pub(crate) fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The bytes of all files in a folder. Some may go meanwhile.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of_entry = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}

#[test]
fn two_hundred_thousand_invented_keys_fill_neither_memory_nor_store_and_push_out_no_good_key() {
    let _alone = alone();
    // With rates, each key takes longer.
    for (keys, has_rates) in [(200_000, false), (50_000, true)] {
        let attack = Attack {
            keys,
            max_breakers: 1000,
            invented: Invented::Fail,
            has_rates,
            // A kilobyte for each key would be 45 MB.
            most_grown: Growth { in_all: 40_000, after_warm_up: 30_000 },
        };
        let store = MemoryStore::new();
        attack.run(&Attacked { store, folder: None, counted_each: 10_000 });
    }
}

/// Their circuits are open, so none of them can be replaced.
#[test]
fn invented_keys_that_open_every_breaker_of_a_group_shut_no_good_key_out() {
    const BREAKERS: usize = 1000;
    let _alone = alone();
    for when_full in [WhenFull::Pass, WhenFull::Share] {
        let store = MemoryStore::new();
        let mut config = Config::default();
        config.recovery_timeout = Duration::from_secs(24 * 3600);
        let builder = KeyedBreakers::builder("keys").config(config).max_breakers(BREAKERS);
        let keys = builder.when_full(when_full).store(store.clone()).build().unwrap();
        let layer = KeyedCircuitBreakerLayer::by_key(keys.clone(), |request: &(String, bool)| {
            Some(request.0.as_str().into())
        });
        let mut service = layer.layer(service_fn(async |(_, fails): (String, bool)| {
            if fails { Err(std::io::Error::other("down")) } else { Ok(()) }
        }));
        let mut request = |key: String, fails| call(&mut service, (key, fails));
        let mut attack = |keys: std::ops::Range<usize>| {
            for key in keys {
                (0..5).for_each(|_| drop(request(format!("invented {key}"), true)));
            }
        };
        attack(0..BREAKERS);
        let is_open = |breaker: &Breaker| breaker.state() == State::Open;
        assert_eq!(keys.breakers().iter().filter(|breaker| is_open(breaker)).count(), BREAKERS);
        let resident = resident_kilobytes();
        attack(BREAKERS..50 * BREAKERS);
        let grown = resident_kilobytes().saturating_sub(resident);
        assert_eq!(keys.len(), BREAKERS);
        assert!(keys.breakers().iter().all(is_open), "an open one is never replaced");
        assert!(grown < 20_000, "{grown} kB");
        let stored = store.load_page(None, usize::MAX).unwrap().len();
        assert!(stored <= BREAKERS + 1, "{stored} snapshots");
        let good = request("good".to_owned(), false);
        if when_full == WhenFull::Pass {
            good.unwrap();
            assert_eq!(keys.unrecorded_calls(), 5 * 49 * BREAKERS as u64);
        } else {
            // As `WhenFull::Share` says.
            assert_eq!(good.unwrap_err().rejected().unwrap().name(), "keys");
        }
    }
}

/// Minutes in release. `ATTACK_KEYS` is the number of keys, if it is set.
#[test]
#[ignore = "forty million calls"]
fn ten_million_invented_keys_fill_neither_memory_nor_sled_and_push_out_no_good_key() {
    let _alone = alone();
    let keys = std::env::var("ATTACK_KEYS").ok().and_then(|keys| keys.parse().ok());
    let keys = keys.unwrap_or(10_000_000);
    for (invented, has_rates) in [
        (Invented::Fail, false),
        (Invented::Mixed, false),
        (Invented::Succeed, false),
        (Invented::Succeed, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        // A kilobyte for each key would be 9 GB; sled itself keeps more over so long a run. See
        // `KeyedBreakers`.
        let most_grown = Growth { in_all: 128_000, after_warm_up: 64_000 };
        let attack = Attack { keys, max_breakers: 10_000, invented, has_rates, most_grown };
        let store = SledStore::open(folder.path().join("state")).unwrap();
        attack.run(&Attacked { store, folder: Some(folder.path()), counted_each: keys / 100 });
    }
}
