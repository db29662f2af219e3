//! Processes: servers that are restarted, killed, and have their folders damaged, locked and made
//! read-only; stores in a storm of kills; the examples; and the command `tower-breaker inspect`.

#[path = "../support/mod.rs"]
mod support;

mod counted;
#[cfg(target_os = "linux")]
mod drops;
#[cfg(target_os = "linux")]
mod durability;
mod examples;
mod inspect;
#[cfg(unix)]
mod inspect_redis;
mod kill_storm;
#[cfg(target_os = "linux")]
mod lockless;
mod panicking_log;
#[cfg(unix)]
mod reload;
mod restart;
mod server;
mod storage;
#[cfg(unix)]
mod termination;
mod trouble;
mod worker;

#[test]
fn child_process() {
    support::child::enter(&[
        (server::SERVER, server::serve),
        (counted::COUNTER, counted::count),
        #[cfg(target_os = "linux")]
        (drops::DROPPER, drops::drop_all),
        #[cfg(target_os = "linux")]
        (drops::FORGETFUL, drops::forget),
        #[cfg(target_os = "linux")]
        (durability::ACKNOWLEDGER, durability::acknowledge),
        (kill_storm::BREAKERS, kill_storm::flap),
        (kill_storm::LARGE, kill_storm::save),
        (kill_storm::RECORDS, kill_storm::write),
        #[cfg(target_os = "linux")]
        (lockless::LOCKLESS, lockless::load),
        (panicking_log::LOGGER, panicking_log::log_all),
        (worker::WORKER, worker::command),
        #[cfg(unix)]
        (termination::EXAMPLE, termination::example),
        #[cfg(unix)]
        (reload::EXAMPLE, reload::example),
    ]);
}
