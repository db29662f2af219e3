//! A worker that is killed at random moments. `BREAKER_WORKER_KILLS` sets how often; the default is
//! 20.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::support::{random::Random, wait::eventually};

#[test]
fn kills_lose_no_job_and_repeat_only_the_one_under_way() {
    let kills: usize = std::env::var("BREAKER_WORKER_KILLS")
        .map_or(20, |kills| kills.parse().expect("BREAKER_WORKER_KILLS is a number"));
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let output = tempfile::tempfile().unwrap();
    let mut random = Random::new(15);
    let mut ids = BTreeSet::new();
    let mut killed = 0;
    for kill in 0..kills {
        // Every seventh job becomes a dead letter. Enough jobs, so that the kill comes before the
        // last one.
        ids.extend(add(
            folder.path(),
            (0..30).map(|job| {
                format!("{} {kill}.{job}", if job % 7 == 3 { "refused" } else { "job" })
            }),
        ));
        let seen = upstream.log().deliveries.len();
        let mut process = worker(folder.path(), &upstream, "50ms").output(&output).start();
        // Every fourth is killed while it starts.
        if !kill.is_multiple_of(4) {
            let works = || upstream.log().deliveries.len() > seen || process.status().is_some();
            eventually("the worker works", works);
        }
        // Short outages too.
        upstream.log().is_down = kill % 5 == 2;
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        killed += usize::from(process.status().is_none());
        process.kill();
        upstream.log().is_down = false;
    }
    let mut final_run = worker(folder.path(), &upstream, "50ms").output(&output).start();
    eventually("the rest is done", || final_run.status().is_some());
    assert!(final_run.status().unwrap().success());

    let queue = queue(folder.path());
    assert!(queue.is_empty());
    let letters = ids_of(&queue.dead().unwrap());
    let dead: BTreeSet<u64> = letters.iter().copied().collect();
    assert_eq!(letters.len(), dead.len(), "no job is a dead letter twice");
    drop(queue);
    let mut times = BTreeMap::<u64, usize>::new();
    for job in upstream.log().done() {
        *times.entry(job).or_default() += 1;
    }
    let done: BTreeSet<u64> = times.keys().copied().collect();
    assert!(done.is_disjoint(&dead), "a job is done or dead, not both");
    let lost: Vec<_> = ids.iter().filter(|id| !done.contains(id) && !dead.contains(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(dead.len(), kills * 4, "four of each thirty are refused");
    let repeated: usize = times.values().map(|times| times - 1).sum();
    println!(
        "{kills} kills, {killed} of a running worker; {} jobs done, {} dead, {repeated} repeated",
        done.len(),
        dead.len()
    );
    // A kill repeats at most the job that was under way.
    assert!(repeated <= killed, "{repeated} repeated");
    assert!(killed >= kills / 2, "only {killed} of {kills} kills hit a running worker");
    upstream.stop();
    replays_that_are_killed(folder.path(), &letters, kills / 2, &mut random);
}

/// Each dead letter stays one, or waits in the queue, in the order in which they failed.
fn replays_that_are_killed(folder: &Path, letters: &[u64], kills: usize, random: &mut Random) {
    let (mut killed, mut in_part) = (0, 0);
    for kill in 0..kills {
        let mut process = with_command("replay", folder).start();
        if !kill.is_multiple_of(4) {
            process.line_with("put back");
        }
        std::thread::sleep(Duration::from_micros(random.below(5_000)));
        let has_ended = process.status().is_some();
        process.kill();
        let queue = queue(folder);
        let (waiting, dead) = (queue.waiting().unwrap(), queue.dead().unwrap());
        assert_eq!([ids_of(&waiting), ids_of(&dead)].concat(), letters);
        assert!(waiting.iter().all(|job| job.attempts == 0));
        in_part += usize::from(!waiting.is_empty() && !dead.is_empty());
        if has_ended {
            break;
        }
        killed += 1;
    }
    println!("{killed} kills of a replay, {in_part} of them in the middle");
    assert!(in_part > 0 || kills < 4);
}

fn ids_of(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(|job| job.id).collect()
}
