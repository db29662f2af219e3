//! `FileStore` under breakers: what happens to its folder and to its process reaches no call, and
//! what was acknowledged stays.
//!
//! A child process is this same test binary, told by its environment to play a role.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, Event, FileStore, State, StateStore, Trip,
    store::{HistoryRecord, HistoryStore, SaveEntry, StoreHealth},
};

const ROLE: &str = "BREAKER_FILE_STORE_ROLE";
const FOLDER: &str = "BREAKER_FILE_STORE_FOLDER";
/// What precedes a line of a child's that is meant for its parent.
const MARK: &str = "@@ ";
const LONG: Duration = Duration::from_secs(60);

/// Where a child begins. Without a role, it checks that an unknown one is refused.
#[test]
fn role() {
    let play = |role: &str| match role {
        "hammer" => hammer(),
        "watcher" => watch(),
        _ => Err(format!("there is no role {role}").into()),
    };
    match std::env::var(ROLE) {
        Ok(role) => play(&role).expect("the role is played to its end"),
        Err(_) => assert!(play("nobody").is_err()),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone does not listen.
    let _ = writeln!(out, "{MARK}{line}").and_then(|()| out.flush());
}

struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
    words: ChildStdin,
}

impl Process {
    fn start(role: &str, folder: &Path, prepare: impl FnOnce(Command) -> Command) -> Self {
        let mut command = prepare(Command::new(std::env::current_exe().unwrap()));
        command
            .args(["file_store::role", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = spawn(&mut command).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let words = child.stdin.take().unwrap();
        Self { child, lines, words }
    }

    /// The child's next word to its parent; `None` when it has ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        for _ in 0..100_000 {
            line.clear();
            let length = self.lines.read_line(&mut line).ok()?;
            // A line that was cut off by the end is none.
            if length == 0 || !line.ends_with('\n') {
                return None;
            }
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
        }
        None
    }

    fn ask(&mut self) -> String {
        self.words.write_all(b"\n").unwrap();
        self.line().expect("the child answers")
    }

    fn kill(mut self) -> Vec<String> {
        self.end();
        std::iter::from_fn(|| self.line()).collect()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A program that was just written may still be open in a process that another test has forked.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let began = Instant::now();
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && began.elapsed() < LONG =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Waits until it is so, a minute at most: a store that failed for long is asked every five seconds.
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while began.elapsed() < LONG {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still not so after a minute: {what}");
}

fn breaker(name: &str, folder: &Path) -> Breaker {
    let store = FileStore::open(folder).unwrap();
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(1));
    builder.store(store).flush_interval(Duration::from_millis(20)).build().unwrap()
}

/// Waits until the last state is stored, also where that takes longer than a breaker waits that goes.
fn drop_and_free(breaker: Breaker, folder: &Path) {
    drop(breaker);
    let store = FileStore::open(folder).unwrap();
    eventually("the folder is free", || store.load_page(None, 1).is_ok());
}

fn stored(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(format!("{name}.json"))).unwrap_or_default()
}

#[test]
fn a_transition_is_there_to_be_read_while_the_breaker_lives() {
    let dir = tempfile::tempdir().unwrap();
    let breaker = breaker("payments", dir.path());
    breaker.try_acquire().unwrap().failure();
    eventually("the trip is stored", || {
        stored(dir.path(), "payments").contains(r#""state":"open""#)
    });
    let text = stored(dir.path(), "payments");
    assert_eq!(text.lines().count(), 1);
    let snapshot: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot["failure_count"], 1);
}

#[test]
fn a_folder_that_is_deleted_is_made_again_and_that_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let deleted = Breaker::builder("deleted")
        .store(FileStore::open(&folder).unwrap())
        .on_event(move |event| {
            if let Event::Store(event) = event {
                listener.lock().unwrap().push(event.health.to_string());
            }
        })
        .build()
        .unwrap();
    eventually("it is stored", || deleted.flush_blocking(LONG).is_ok());
    // A disk that is busy enough does not answer for a second.
    eventually("it is healthy", || deleted.store_health() == StoreHealth::Healthy);
    heard.lock().unwrap().clear();
    fs::remove_dir_all(&folder).unwrap();
    deleted.force_open();
    eventually("the state is stored anew", || stored(&folder, "deleted").contains("forced_open"));
    eventually("it is healthy again", || deleted.store_health() == StoreHealth::Healthy);
    eventually("it was said", || heard.lock().unwrap().len() > 1);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("removed") && heard[1] == "healthy", "{heard:?}");
}

#[test]
fn a_folder_that_is_held_is_taken_over_with_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = breaker("held", dir.path());
    let second = breaker("held", dir.path());
    let health = second.store_health().to_string();
    assert!(health.contains("held by another process"), "{health}");
    assert!(second.try_acquire().is_ok());
    first.force_open();
    drop(first);
    eventually("the second takes over", || second.store_health() == StoreHealth::Healthy);
    eventually("it knows what the first knew", || second.state() == State::ForcedOpen);
}

#[test]
fn one_breaker_whose_file_is_in_trouble_does_not_keep_the_others_from_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let on = |name: &str| Breaker::builder(name).store(store.clone()).build().unwrap();
    fs::create_dir_all(dir.path().join("troubled.json/below")).unwrap();
    let (troubled, other) = (on("troubled"), on("other"));
    troubled.force_open();
    other.force_open();
    eventually("the other is stored", || stored(dir.path(), "other").contains("forced_open"));
    eventually("that one of them is in trouble is said", || {
        troubled.store_health().to_string().contains("troubled.json")
    });
    fs::remove_dir_all(dir.path().join("troubled.json")).unwrap();
    eventually("it heals", || stored(dir.path(), "troubled").contains("forced_open"));
}

#[test]
fn a_snapshot_that_is_damaged_by_hand_starts_closed_and_is_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    drop_and_free(breaker("damaged", dir.path()), dir.path());
    fs::write(dir.path().join("damaged.json"), "{ state: open, please }\n").unwrap();
    let damaged = breaker("damaged", dir.path());
    assert_eq!(damaged.state(), State::Closed);
    eventually("it is stored", || damaged.flush_blocking(LONG).is_ok());
    let kept = fs::read_to_string(dir.path().join("damaged+quarantine.json")).unwrap();
    assert!(kept.contains("state: open, please"), "{kept}");
    assert!(stored(dir.path(), "damaged").contains(r#""state":"closed""#));
}

/// The child: says at each line that it hears how its breaker's store is, and what it admits.
fn watch() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = breaker("watched", Path::new(&std::env::var(FOLDER)?));
    for line in std::io::stdin().lines() {
        line?;
        say(&format!("{} {}", breaker.state(), breaker.store_health()));
        breaker.reset();
        breaker.disable();
    }
    Ok(())
}

/// Root is stopped by no permission, and starts the child as nobody, where it can.
#[cfg(unix)]
#[test]
fn a_read_only_folder_is_read_and_heals() {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};

    const NOBODY: u32 = 65534;
    let permit = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let filled = breaker("watched", &folder);
    filled.force_open();
    drop_and_free(filled, &folder);
    let permit_all = |folders, files| {
        for entry in fs::read_dir(&folder).unwrap() {
            permit(&entry.unwrap().path(), files);
        }
        permit(&folder, folders);
    };
    permit_all(0o555, 0o444);
    let is_stopped = fs::write(folder.join("mine"), "").is_err();
    let mut child = if is_stopped {
        Process::start("watcher", &folder, |command| command)
    } else {
        fs::remove_file(folder.join("mine")).unwrap();
        let program = dir.path().join("program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        permit(dir.path(), 0o755);
        permit(&program, 0o755);
        let as_nobody = || {
            let mut command = Command::new(&program);
            command.uid(NOBODY).gid(NOBODY);
            command
        };
        let listed = spawn(as_nobody().arg("--list").stdout(Stdio::null()));
        if !listed.and_then(|mut child| child.wait()).is_ok_and(|status| status.success()) {
            println!("skipped: nothing can be started as nobody here");
            return;
        }
        Process::start("watcher", &folder, |_| as_nobody())
    };
    let said = child.ask();
    assert!(said.starts_with("forced_open"), "what is stored can be read: {said}");
    eventually("the store is degraded", || child.ask().contains("Permission denied"));
    permit_all(0o777, 0o666);
    eventually("the store heals", || child.ask() == "disabled healthy");
    eventually("the newest is stored", || stored(&folder, "watched").contains("disabled"));
}

/// The child: counts up, and says what was acknowledged.
fn hammer() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::var(FOLDER)?;
    let store = FileStore::open(&folder)?;
    let mut count: u64 = match store.load("count")? {
        Some(bytes) => String::from_utf8(bytes)?.parse()?,
        None => 0,
    };
    say(&count.to_string());
    loop {
        count += 1;
        let record = HistoryRecord::new(count, format!(r#"{{"count":{count}}}"#));
        store.append("count", &[record])?;
        store.save(&SaveEntry::new("count", count.to_string().as_bytes()))?;
        if count.is_multiple_of(7) {
            store.trim("count", 0, 20)?;
        }
        say(&count.to_string());
    }
}

#[test]
fn what_was_acknowledged_survives_50_kills_at_random_moments() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = 7_u64;
    let mut acknowledged: u64 = 0;
    for round in 0..50 {
        let mut child = Process::start("hammer", dir.path(), |command| command);
        let restored: u64 = child.line().expect("every start succeeds").parse().unwrap();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&restored),
            "{acknowledged} became {restored}"
        );
        // Some are killed before they have written anything, and some are not.
        let begun = if round % 4 == 0 { 0 } else { 2 };
        let begun: Vec<_> = (0..begun).map_while(|_| child.line()).collect();
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % 20_000));
        let said = begun.into_iter().chain(child.kill());
        acknowledged = said.last().map_or(restored, |line| line.parse().unwrap());

        let store = FileStore::open(dir.path()).unwrap();
        let history = store.load_newest("count", None, 20).unwrap();
        let newest = history.first().map_or(0, |record| record.id);
        assert!((acknowledged..=acknowledged + 1).contains(&newest), "{newest}");
        let ids: Vec<_> = history.iter().map(|record| record.id).collect();
        let expected: Vec<_> = (1..=newest).rev().take(20).collect();
        assert_eq!(ids, expected, "no record is missing");
    }
    // Else the kills came before anything was written, and nothing was shown.
    assert!(acknowledged > 50, "only {acknowledged} writes in 50 rounds");
}
