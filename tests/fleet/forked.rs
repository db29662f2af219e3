//! A process that is forked after its breakers were built: it has no thread of the fleet.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, State, fleet::RedisFleet};

use crate::{
    replica::{joined, reaches, replica, settings},
    support::{
        child::{Role, RoleResult, argument, say},
        fork,
        redis::RedisServer,
        skip,
        wait::holds_in_time,
    },
};

pub(crate) const PARENT: &str = "forking replica";

/// The role: builds a shared breaker, forks, and says what the child and the parent see.
pub(crate) fn parent() -> RoleResult {
    let fleet = RedisFleet::open(&argument("REDIS"))?;
    let build = |name: &str| settings(name).shared(fleet.clone()).build();
    let breaker = build("payments")?;
    joined(&breaker);
    // Nothing is under way, and so no lock is held, when the process is forked.
    std::thread::sleep(Duration::from_millis(300));
    let report = PathBuf::from(argument("REPORT"));
    if fork::fork() {
        let part = report.with_extension("part");
        fs::write(&part, child(&fleet, breaker, build)?)?;
        fs::rename(part, report)?;
        std::process::exit(0);
    }
    let is_there = holds_in_time(|| report.exists());
    fs::read_to_string(&report).unwrap_or_default().lines().for_each(say);
    assert!(is_there, "the child has not reported");
    // The parent has not noticed any of this.
    joined(&breaker);
    assert_eq!(breaker.state(), State::Closed);
    breaker.disable();
    say("the parent goes on");
    // Until the test has seen that, and ends this process.
    std::thread::sleep(Duration::from_secs(120));
    Ok(())
}

fn child(
    fleet: &RedisFleet,
    breaker: Breaker,
    build: impl Fn(&str) -> Result<Breaker, tower_breaker::ConfigError>,
) -> Result<String, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let views = tokio_test::block_on(breaker.fleet_views(Duration::from_secs(5)));
    let replicas = tokio_test::block_on(fleet.replicas());
    breaker.force_open();
    let rejects = breaker.try_acquire().is_err();
    let later = build("later")?;
    let lines = [
        breaker.fleet_health().to_string(),
        fleet.health().to_string(),
        views.map_or_else(|error| error.to_string(), |views| format!("{views:?}")),
        replicas.map_or_else(|error| error.to_string(), |all| format!("{all:?}")),
        rejects.to_string(),
        later.fleet_health().to_string(),
    ];
    drop((later, breaker));
    Ok(format!("{}\n{}", lines.join("\n"), began.elapsed().as_millis()))
}

#[needs::programs("redis-server", "cc")]
#[test]
fn a_forked_process_says_that_it_is_alone_answers_questions_with_an_error_and_waits_for_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = fork::library(folder.path()) else {
        return skip::missing("a C compiler is missing (Debian: apt-get install gcc)");
    };
    let other = replica(&server, "payments");
    let role = Role::new(PARENT).argument("REDIS", server.url());
    let role = role.argument("REPORT", folder.path().join("report"));
    let mut process = role.variable("LD_PRELOAD", library).start();
    let mut line = || process.line().unwrap_or_default();
    let alone = [(); 2].map(|()| line());
    let asked = [(); 2].map(|()| line());
    let (rejects, later, took) = (line(), line(), line());
    for health in alone.iter().chain([&later]) {
        assert!(health.starts_with("alone: ") && health.contains("forked"), "{health}");
        assert!(health.contains("after daemonizing"), "{health}");
    }
    for answer in &asked {
        assert!(answer.contains("fleet not reached") && answer.contains("forked"), "{answer}");
    }
    assert_eq!(rejects, "true", "the child does not decide alone");
    assert!(took.parse::<u64>().is_ok_and(|took| took < 10_000), "{took} ms");
    assert_eq!(line(), "the parent goes on");
    reaches(&[&other], State::Disabled);
    process.kill();
}
