//! The figures of the page "Which store?" (src/store/mod.rs), each in a process of its own:
//! `cargo test --release --all-features --test store which_store -- --ignored --nocapture`.
//!
//! `WHICH_STORE_BREAKERS` sets the larger number of breakers.
#![cfg(target_os = "linux")]

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, store::SaveEntry};

use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
};

pub(crate) const FILLER: &str = "filler of a store";
pub(crate) const READER: &str = "reader of a store";
const SAVES: usize = 200;

#[test]
#[ignore = "a measurement"]
fn the_figures_of_each_store() {
    let many = std::env::var("WHICH_STORE_BREAKERS").unwrap_or_else(|_| "100000".to_owned());
    println!("load average: {}", fs::read_to_string("/proc/loadavg").unwrap().trim());
    println!("| store | breakers | threads | memory | disk | start | save, median and 99% |");
    for kind in Kind::ALL {
        for breakers in ["1", many.as_str()] {
            let dir = tempfile::tempdir().unwrap();
            let role = |name| {
                let role = Role::new(name).argument("KIND", kind.name());
                role.argument("FOLDER", dir.path().join("state")).argument("BREAKERS", breakers)
            };
            let filled = role(FILLER).start().line().expect("the store is filled");
            assert_eq!(filled, "filled");
            let row = role(READER).start().line().expect("the store is read");
            println!("| {} | {breakers} | {row} |", kind.name());
        }
    }
}

fn snapshot() -> String {
    let breaker = Breaker::builder("measured").build().unwrap();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    breaker.snapshot().to_json().unwrap()
}

fn entry(number: usize, value: &str) -> SaveEntry {
    SaveEntry::new(format!("circuit_breaker:breaker-{number}:state"), value)
}

pub(crate) fn fill() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let value = snapshot();
    let entries: Vec<_> =
        (0..argument("BREAKERS").parse()?).map(|number: usize| entry(number, &value)).collect();
    store.save_all(&entries)?;
    drop(store);
    say("filled");
    Ok(())
}

pub(crate) fn read() -> RoleResult {
    let folder = argument("FOLDER");
    let breakers: usize = argument("BREAKERS").parse()?;
    // A breaker may start a thread.
    let value = snapshot();
    let (threads, memory) = (threads(), resident()?);
    let began = Instant::now();
    let store = Kind::named(&argument("KIND")).open(Path::new(&folder));
    let mut last: Option<String> = None;
    let mut read = 0;
    // As many breakers that start read theirs: in pages.
    loop {
        let limit = if argument("KIND") == "file" { usize::MAX } else { 1024 };
        let page = store.load_page(last.as_deref(), limit)?;
        read += page.len();
        let is_last = page.len() < limit;
        last = page.into_iter().last().map(|(key, _)| key);
        if is_last {
            break;
        }
    }
    assert_eq!(read, breakers);
    let start = began.elapsed();
    let mut saves: Vec<Duration> = (0..SAVES)
        .map(|n| {
            let entry = entry(n % breakers, &value);
            let began = Instant::now();
            store.save(&entry).map(|()| began.elapsed())
        })
        .collect::<Result<_, _>>()?;
    saves.sort_unstable();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    say(&format!(
        "{} | {:.1} MB | {:.2} MB | {:.1} ms | {:.2} ms, {:.2} ms",
        self::threads() - threads,
        (resident()?.saturating_sub(memory)) as f64 / 1e6,
        disk(Path::new(&folder))? as f64 / 1e6,
        milliseconds(start),
        milliseconds(saves[SAVES / 2]),
        milliseconds(saves[SAVES * 99 / 100]),
    ));
    Ok(())
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Bytes of memory in use.
fn resident() -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}

/// Bytes that the files take on the disk.
fn disk(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { disk(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(bytes)
}
