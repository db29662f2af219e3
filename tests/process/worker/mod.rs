//! The example of a worker: outages, kills, and dead letters.

mod dead_letters;
mod kills;
mod outage;
mod upstream;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use self::{
    example_worker::queue::{Job, Queue, Retention},
    upstream::Upstream,
};
use crate::support::{
    child::{Role, RoleResult, argument},
    folder::until_released,
};

#[path = "../../../examples/worker/main.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod example_worker;

pub(crate) const WORKER: &str = "worker";

/// The role: a command of the unchanged example.
#[tokio::main]
pub(crate) async fn command() -> RoleResult {
    let words: Vec<_> = argument("COMMAND").split(' ').map(str::to_owned).collect();
    example_worker::command(&words).await.map_err(|error| error as _)
}

/// A worker that works until its queue is empty.
fn worker(folder: &Path, upstream: &Upstream, recovery: &str) -> Role {
    with_command("run", folder)
        .variable("UPSTREAM", upstream.url())
        .variable("RECOVERY_TIMEOUT", recovery)
        .variable("RETRY_DELAY", "1ms")
}

fn with_command(command: &str, folder: &Path) -> Role {
    // A child that another test starts inherits the lock of this process's queue for a moment, and
    // a command does not wait for it.
    until_released(folder);
    Role::new(WORKER).argument("COMMAND", command).variable("STATE_DIR", folder)
}

fn queue(folder: &Path) -> Queue {
    Queue::open(&folder.join("queue"), Retention::default()).unwrap()
}

/// Adds jobs with these payloads. Returns their ids.
fn add(folder: &Path, payloads: impl Iterator<Item = String>) -> Vec<u64> {
    let queue = queue(folder);
    payloads.map(|payload| queue.add(&payload).unwrap()).collect()
}
