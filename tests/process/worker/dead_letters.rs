//! Jobs that are out of retries: what is known of them, how long they are kept, and their replay.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn a_refused_job_becomes_a_dead_letter_that_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let run = |command: &str| {
        let role = if command == "run" {
            worker(folder.path(), &upstream, "1s")
        } else {
            with_command(command, folder.path())
        };
        role.start()
    };
    let began = SystemTime::now();
    assert!(!run("add job refused job").terminated_with_failure());
    let mut process = run("run");
    let buried = process.line_with("dead letter").expect("one is buried");
    assert!(buried.contains("\"refused\"") && buried.contains("5 attempts"), "{buried}");
    assert!(process.line_with("done").is_some(), "the next one is done");
    drop(process);

    let listed = run("dead").line_with("job ").expect("it is listed");
    assert!(listed.contains("422 Unprocessable Entity"), "{listed}");
    let open = || queue(folder.path());
    let letters = open().dead().unwrap();
    let [Job { id, attempts: 5, failure: Some(failure), .. }] = letters.as_slice() else {
        panic!("{letters:?}");
    };
    assert!(began <= failure.first && failure.first < failure.last);
    let attempts: Vec<_> = (1..=5).collect();
    let of_job = |job: u64| {
        let log = upstream.log();
        let of_job = log.deliveries.iter().filter(|delivery| delivery.job == job);
        of_job.map(|delivery| delivery.attempt).collect::<Vec<_>>()
    };
    assert_eq!(of_job(*id), attempts);

    assert!(run(&format!("replay {}", id + 1)).terminated_with_failure());
    assert!(run("replay").line_with("put back").is_some());
    let queue = open();
    assert!(queue.dead().unwrap().is_empty());
    let (_, job) = queue.first().unwrap().unwrap();
    assert_eq!((job.id, job.attempts), (*id, 0));
    drop(queue);
    assert!(run("run").line_with("dead letter").is_some());
    assert_eq!(of_job(*id), [attempts.clone(), attempts].concat());
    upstream.stop();
}

fn job(id: u64, failed_at: SystemTime) -> Job {
    let mut job = Job { id, payload: String::new(), attempts: 5, failure: None };
    job.note("refused".to_owned(), failed_at);
    job
}

/// The ids of the dead letters after jobs have failed at these times.
async fn kept(retention: Retention, failed_at: &[SystemTime]) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(&folder.path().join("queue"), retention).unwrap();
    for (id, failed_at) in (0..).zip(failed_at) {
        queue.add("job").unwrap();
        let (key, _) = queue.first().unwrap().unwrap();
        queue.bury(&key, &job(id, *failed_at)).await.unwrap();
    }
    assert!(queue.is_empty());
    queue.dead().unwrap().iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn dead_letters_are_kept_for_the_configured_days() {
    let begin = SystemTime::UNIX_EPOCH + DAY * 20_000;
    let days = [0, 1, 29, 30, 31].map(|day| begin + DAY * day);
    assert_eq!(kept(Retention::default(), &days).await, [1, 2, 3, 4]);
    assert_eq!(kept(Retention::new(2, 100).unwrap(), &days).await, [2, 3, 4]);
    assert_eq!(kept(Retention::new(1, 100).unwrap(), &days).await, [3, 4]);
    assert_eq!(kept(Retention::new(365, 100).unwrap(), &days).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn of_too_many_dead_letters_the_oldest_go() {
    let begin = SystemTime::UNIX_EPOCH + DAY * 20_000;
    let times: Vec<_> = (0..10).map(|second| begin + Duration::from_secs(second)).collect();
    assert_eq!(kept(Retention::new(30, 3).unwrap(), &times).await, [7, 8, 9]);
}

/// However long ago the last burial was.
#[tokio::test]
async fn what_is_too_old_is_neither_listed_nor_replayed() {
    let now = SystemTime::now();
    for command in ["dead", "replay"] {
        let folder = tempfile::tempdir().unwrap();
        let queue = queue(folder.path());
        // The newer one first: a burial removes what is too old by then.
        for (id, age) in [(7, DAY * 29), (8, DAY * 31)] {
            queue.add("job").unwrap();
            let (key, _) = queue.first().unwrap().unwrap();
            queue.bury(&key, &job(id, now - age)).await.unwrap();
        }
        assert_eq!(queue.dead().unwrap().len(), 2);
        drop(queue);
        let mut process = with_command(command, folder.path()).start();
        assert!(process.line_with("job ").is_some_and(|line| line.contains("job 7")));
        assert!(process.line_with("job ").is_none(), "{command}");
    }
}

#[test]
fn retention_out_of_range_is_refused() {
    for (days, count) in [(0, 10), (366, 10), (30, 0)] {
        Retention::new(days, count).unwrap_err();
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [("DEAD_LETTER_DAYS", "366"), ("DEAD_LETTER_DAYS", "many")] {
        let role = with_command("dead", folder.path()).variable(name, value);
        assert!(role.start().terminated_with_failure());
    }
}
