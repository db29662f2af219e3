//! A process that is forked after its breakers were built: it has their memory, and no thread that
//! saves. Without a C compiler, these cells are skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, State, StateStore, store::SaveEntry};

use super::processes::Played;
use crate::support::{
    child::{Role, RoleResult, argument, say},
    fork,
    kind::Kind,
    wait::{MINUTE, holds_in_time},
};

pub(crate) const PARENT: &str = "forking parent";

/// The role: builds a breaker, forks, and says what the child and the parent see.
pub(crate) fn fork() -> RoleResult {
    let folder = PathBuf::from(argument("FOLDER"));
    let store = Kind::named(&argument("KIND")).open(&folder);
    let build = |name: &str| Breaker::builder(name).store(store.clone()).build();
    let breaker = build("a")?;
    let never_called = build("c")?;
    breaker.force_open();
    breaker.flush_blocking(MINUTE)?;
    // A store that was only looked at.
    let looked_at = folder.with_file_name("looked at");
    let other = Kind::named(&argument("KIND")).open(&looked_at);
    other.save(&SaveEntry::new("key", "value"))?;
    // Nothing is under way, and so no lock is held, when the process is forked.
    std::thread::sleep(Duration::from_millis(300));
    let report = folder.with_file_name("child");
    if fork::fork() {
        let began = Instant::now();
        let health = breaker.store_health();
        let flushed = breaker.flush_blocking(MINUTE);
        breaker.reset();
        let admits = breaker.try_acquire().is_ok() && never_called.try_acquire().is_ok();
        let later = build("b")?;
        let later_health = later.store_health();
        let own = own_store()?;
        let inherited = inherited_store(&other)?;
        drop((later, breaker, never_called, other));
        let took = began.elapsed().as_millis();
        let said = format!(
            "{health}\n{}\n{admits}\n{later_health}\n{own}\n{inherited}\n{took}",
            flushed.map_or_else(|error| error.to_string(), |()| "saved".to_owned()),
        );
        fs::write(folder.with_file_name("child.part"), said)?;
        fs::rename(folder.with_file_name("child.part"), report)?;
        std::process::exit(0);
    }
    let is_there = holds_in_time(|| report.exists());
    let said = fs::read_to_string(report).unwrap_or_default();
    said.lines().for_each(say);
    assert!(is_there, "the child has not reported");
    // The parent has not noticed any of this.
    assert!(breaker.store_health().is_healthy());
    assert_eq!(breaker.state(), State::ForcedOpen);
    breaker.disable();
    breaker.flush_blocking(MINUTE)?;
    other.save(&SaveEntry::new("key", "of the parent"))?;
    assert_eq!(other.load("key")?.unwrap(), b"of the parent");
    let is_held = Kind::named(&argument("KIND")).open(&looked_at).load("key").is_err();
    assert!(is_held || argument("KIND") == Kind::Redis.name(), "the child has released it");
    say("the parent saves");
    Ok(())
}

/// A store that its parent has used, although no breaker was on it.
fn inherited_store(store: &Arc<dyn StateStore>) -> Result<String, Box<dyn std::error::Error>> {
    let breaker = Breaker::builder("a").store(Arc::clone(store)).build()?;
    let read = store.load("key");
    Ok(format!(
        "{} and {}",
        breaker.store_health(),
        read.map_or_else(|e| e.to_string(), |_| "read".to_owned())
    ))
}

/// A store of the child's own, of the kind that its parent has used.
fn own_store() -> Result<String, Box<dyn std::error::Error>> {
    let folder = PathBuf::from(argument("FOLDER")).with_file_name("of the child");
    let store = Kind::named(&argument("KIND")).open(&folder);
    let breaker = Breaker::builder("a").store(store).build()?;
    breaker.disable();
    let flushed = breaker.flush_blocking(Duration::from_secs(5));
    let health = breaker.store_health();
    Ok(match flushed {
        Ok(()) => format!("{health} and saved"),
        Err(error) => format!("{health} and {error}"),
    })
}

/// Runs such a process, and its child, on a store.
pub(super) fn play(kind: Kind, library: &Path) -> Played {
    let mut played = Played::default();
    let dir = tempfile::tempdir().unwrap();
    let role = Role::new(PARENT).argument("KIND", kind.name());
    let role = role.argument("FOLDER", dir.path().join("state"));
    let mut process = role.variable("LD_PRELOAD", library).start();
    let mut line = || process.line().unwrap_or_default();
    let (health, flushed, admits, later) = (line(), line(), line(), line());
    let (own, inherited, took) = (line(), line(), line());
    played.check(health.contains("degraded") && health.contains("forked"), &health);
    played.check(flushed.contains("forked"), &flushed);
    played.check(admits == "true", "the child does not continue in memory");
    played.check(later.contains("forked"), &later);
    // sled's own threads are the parent's too.
    let as_expected = match kind {
        Kind::Sled => own.matches("forked").count() == 2 && own.contains("RedbStore"),
        Kind::File | Kind::Redb | Kind::Redis => own == "healthy and saved",
    };
    played.check(as_expected, &own);
    let as_expected = match kind {
        Kind::Sled | Kind::File | Kind::Redb => inherited.matches("forked").count() == 2,
        Kind::Redis => inherited == "healthy and read",
    };
    played.check(as_expected, &inherited);
    played.check(took.parse::<u64>().is_ok_and(|took| took < 10_000), &format!("{took} ms"));
    played.check(line() == "the parent saves", "the parent does not continue");
    let again = Breaker::builder("a").store(kind.open(&dir.path().join("state"))).build().unwrap();
    let is_saved = holds_in_time(|| again.state() == State::Disabled);
    played.check(is_saved, "what the parent saved is not there");
    played.said = health;
    played
}
