//! A process that is forked after its breakers were built: it has their memory, and no thread that
//! saves.
//!
//! No safe function forks without starting another program. So a library makes `chroot`, which
//! needs no privilege then, fork if it is asked for a folder of this name. It is compiled here;
//! without a C compiler, the test is skipped.

use std::{
    fs,
    os::unix::fs::chroot,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, State};

use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
    wait::{MINUTE, holds_in_time},
};

pub(crate) const PARENT: &str = "forking parent";

const FORK: &str = "/fork";

const SOURCE: &str = r#"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Returns as the child with 0, and as the parent with an error. */
int chroot(const char *path) {
    if (strcmp(path, "/fork") == 0 && fork() == 0) {
        return 0;
    }
    errno = EPERM;
    return -1;
}
"#;

fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("fork.c"), folder.join("fork.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler.stdout(Stdio::null()).stderr(Stdio::null());
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}

/// The role: builds a breaker, forks, and says what the child and the parent see.
pub(crate) fn fork() -> RoleResult {
    let folder = PathBuf::from(argument("FOLDER"));
    let store = Kind::named(&argument("KIND")).open(&folder);
    let build = |name: &str| Breaker::builder(name).store(store.clone()).build();
    let breaker = build("a")?;
    breaker.force_open();
    breaker.flush_blocking(MINUTE)?;
    // Nothing is under way, and so no lock is held, when the process is forked.
    std::thread::sleep(Duration::from_millis(300));
    let report = folder.with_file_name("child");
    if chroot(FORK).is_ok() {
        let began = Instant::now();
        let health = breaker.store_health();
        let flushed = breaker.flush_blocking(MINUTE);
        breaker.reset();
        let admits = breaker.try_acquire().is_ok();
        let later = build("b")?;
        let later_health = later.store_health();
        drop(later);
        drop(breaker);
        let took = began.elapsed().as_millis();
        let said = format!(
            "{health}\n{}\n{admits}\n{later_health}\n{took}",
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
    say("the parent saves");
    Ok(())
}

#[test]
fn a_forked_process_says_that_nothing_is_saved_and_goes_on_in_memory() {
    let around = tempfile::tempdir().unwrap();
    let Some(library) = library(around.path()) else {
        println!("skipped: there is no C compiler");
        return;
    };
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let role = Role::new(PARENT).argument("KIND", kind.name());
        let role = role.argument("FOLDER", dir.path().join("state"));
        let mut process = role.variable("LD_PRELOAD", &library).start();
        let mut line = || process.line().unwrap_or_else(|| panic!("{}: no line", kind.name()));
        let (health, flushed, admits, later, took) = (line(), line(), line(), line(), line());
        println!("{}: {health}; {took} ms", kind.name());
        assert!(health.contains("degraded") && health.contains("forked"), "{health}");
        assert!(flushed.contains("forked"), "{flushed}");
        assert_eq!(admits, "true", "{}: it goes on in memory", kind.name());
        assert!(later.contains("forked"), "{later}");
        assert!(took.parse::<u64>().unwrap() < 10_000, "{took} ms");
        assert_eq!(line(), "the parent saves");
        let again = Breaker::builder("a").store(kind.open(&dir.path().join("state"))).build();
        let again = again.unwrap();
        assert!(holds_in_time(|| again.state() == State::Disabled), "{}", kind.name());
    }
}
