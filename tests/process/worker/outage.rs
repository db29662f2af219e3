//! An outage pauses the queue: no retry is used up, and the order is kept.

use tempfile::tempfile;

use super::*;
use crate::support::wait::eventually;

/// The upstream is down for this long, after a quarter of the jobs.
fn outage(jobs: usize, time: Duration, recovery: &str) {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let ids = add(folder.path(), (0..jobs).map(|job| format!("job {job}")));
    let mut process =
        worker(folder.path(), &upstream, recovery).output(&tempfile().unwrap()).start();
    eventually("a quarter of the jobs is done", || {
        let mut log = upstream.log();
        log.is_down = log.done().len() >= jobs / 4;
        log.is_down
    });
    std::thread::sleep(time);
    // More probes than a job has attempts.
    eventually("six checks have failed", || upstream.log().failed_checks >= 6);
    let before = upstream.log().done().len();
    upstream.log().is_down = false;
    eventually("the worker ends", || process.status().is_some());
    assert!(process.status().unwrap().success());

    let log = upstream.log();
    println!(
        "{jobs} jobs, {before} done before the outage of {time:?}, {} failed deliveries, {} checks",
        log.deliveries.len() - log.done().len(),
        log.failed_checks
    );
    assert_eq!(log.done(), ids, "each job is done once, in its order");
    // The third one opens the circuit. Where the machine is so busy that a check is late, a job is
    // the probe instead, which uses up no retry.
    assert!(log.deliveries.iter().all(|delivery| delivery.attempt <= 3), "{:?}", log.deliveries);
    assert!(log.deliveries.len() >= jobs + 3);
    drop(log);
    let queue = queue(folder.path());
    assert!(queue.is_empty() && queue.dead().unwrap().is_empty());
    upstream.stop();
}

#[test]
fn an_outage_uses_up_no_retry_and_keeps_the_order() {
    outage(40, Duration::from_secs(3), "300ms");
}

#[test]
#[ignore = "takes half a minute"]
fn an_outage_of_30_seconds_with_200_jobs() {
    outage(200, Duration::from_secs(30), "1s");
}
