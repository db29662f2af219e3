//! What is acknowledged is durable: each store writes, syncs what it has written, and then returns,
//! in this order. strace shows the calls to the system.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tower_breaker::store::{HistoryRecord, SaveEntry};

use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
    skip,
};

pub(crate) const ACKNOWLEDGER: &str = "acknowledger";

/// Larger than what sled keeps in one place.
const LARGE: usize = 300_000;

/// The role: writes to a store, and says after each write that it has returned.
pub(crate) fn acknowledge() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let histories = store.history().expect("the store keeps histories");
    let done = |what: &str| say(&format!("acknowledged {what}"));
    for round in 0..3 {
        store.save(&SaveEntry::new("key", format!("value {round}")))?;
        done("a value");
        let many = (0..5).map(|n| SaveEntry::new(format!("key {n}"), format!("value {round}")));
        store.save_all(&many.collect::<Vec<_>>())?;
        done("several values");
        store.save(&SaveEntry::new("large", vec![b'0' + round; LARGE]))?;
        done("a large value");
        histories.append("key", &[HistoryRecord::new(round.into(), format!("{round}"))])?;
        done("a record");
    }
    store.delete("key")?;
    done("a removal");
    Ok(())
}

/// A call to the system that has returned.
#[derive(Debug)]
enum Call {
    /// Changes a file's content.
    Write(PathBuf),
    /// Opens a file, and creates it if it is not there.
    Create(PathBuf),
    /// Changes the names in a folder.
    Name(PathBuf),
    Sync(PathBuf),
    Acknowledge(String),
}

#[needs::programs("strace")]
#[test]
fn every_store_syncs_what_it_has_written_before_it_acknowledges() {
    match strace().status() {
        Ok(status) if status.success() => {}
        Ok(_) => return println!("skipped: strace may not trace here"),
        Err(_) => return skip::missing("strace is missing (Debian: apt-get install strace)"),
    }
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (folder, trace) = (dir.path().join("deep/er/state"), dir.path().join("trace"));
        let mut command = Command::new("strace");
        let calls = "trace=write,pwrite64,fdatasync,fsync,rename,renameat,renameat2,mkdir,mkdirat,\
                     unlink,unlinkat,openat,ftruncate,pwritev,writev";
        command.args(["-f", "-y", "-s", "100", "-e", calls, "-o"]).arg(&trace);
        command.arg(std::env::current_exe().unwrap());
        let role = Role::by(command, ACKNOWLEDGER).argument("KIND", kind.name());
        let mut process = role.argument("FOLDER", &folder).start();
        let said = std::iter::from_fn(|| process.line()).count();
        assert_eq!(said, 13, "{}", kind.name());
        let calls = calls_of(&fs::read_to_string(&trace).unwrap(), dir.path());
        check(kind, &folder, &calls);
    }
}

fn strace() -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn check(kind: Kind, folder: &Path, calls: &[Call]) {
    let (mut unsynced, mut acknowledged, mut writes) = (BTreeSet::new(), 0, 0);
    let mut changed = BTreeSet::new();
    let mut known = BTreeSet::new();
    for (index, call) in calls.iter().enumerate() {
        match call {
            Call::Write(path) => {
                unsynced.insert(path.clone());
                writes += usize::from(path.starts_with(folder));
            }
            Call::Create(path) => {
                if known.insert(path) {
                    unsynced.extend(path.parent().map(Path::to_owned));
                }
            }
            Call::Name(parent) => {
                unsynced.insert(parent.clone());
                changed.insert(parent.clone());
                writes += usize::from(parent.starts_with(folder));
            }
            Call::Sync(path) => drop(unsynced.remove(path)),
            Call::Acknowledge(what) => {
                let before = &calls[index.saturating_sub(30)..index];
                assert!(writes > 0, "{}, {what}: nothing was written: {before:#?}", kind.name());
                assert!(
                    unsynced.is_empty(),
                    "{}, {what}: {unsynced:?} is not synced: {before:#?}",
                    kind.name()
                );
                (acknowledged, writes) = (acknowledged + 1, 0);
            }
        }
    }
    assert_eq!(acknowledged, 13, "{}", kind.name());
    // The folder was created with its parents, and each of their names is durable.
    for parent in folder.ancestors().skip(1).take(3) {
        assert!(changed.contains(parent), "{}: {changed:?}", kind.name());
    }
}

/// The calls below `dir` and the acknowledgements, in the order in which they returned.
fn calls_of(trace: &str, dir: &Path) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, begun);
            continue;
        }
        let whole = match call.strip_prefix("<... ") {
            Some(resumed) => {
                let end = resumed.split_once(" resumed>").map_or("", |(_, end)| end);
                format!("{}{end}", unfinished.remove(thread).unwrap_or_default())
            }
            None => call.to_owned(),
        };
        let failed = whole.contains(" = -1 ");
        calls.extend(parse(&whole).filter(|_| !failed).into_iter().flatten().filter(|call| {
            match call {
                Call::Write(path) | Call::Create(path) | Call::Name(path) | Call::Sync(path) => {
                    path.starts_with(dir)
                }
                Call::Acknowledge(_) => true,
            }
        }));
    }
    calls
}

fn parse(call: &str) -> Option<Vec<Call>> {
    let (name, arguments) = call.split_once('(')?;
    // The path of a file that is open: `3</tmp/file>`.
    let open_file = || {
        let (path, _) = arguments.split_once('<')?.1.split_once('>')?;
        Some(PathBuf::from(path))
    };
    let quoted = || arguments.split('"').skip(1).step_by(2).map(PathBuf::from);
    let parent = |path: PathBuf| path.parent().map(Path::to_owned);
    Some(match name {
        "write" | "writev" if arguments.contains("@@ acknowledged ") => {
            let what = arguments.split("@@ acknowledged ").nth(1)?;
            vec![Call::Acknowledge(what.split('\\').next()?.to_owned())]
        }
        "write" | "pwrite64" | "writev" | "pwritev" | "ftruncate" => {
            vec![Call::Write(open_file()?)]
        }
        "fsync" | "fdatasync" => vec![Call::Sync(open_file()?)],
        "rename" | "renameat" | "renameat2" => {
            quoted().filter_map(parent).map(Call::Name).collect()
        }
        // sled and redb may remove files of their own; a removal that a power failure undoes harms
        // only the removal of a value.
        "mkdir" | "mkdirat" => vec![Call::Name(parent(quoted().next()?)?)],
        "unlink" | "unlinkat" if arguments.contains(".json") => {
            vec![Call::Name(parent(quoted().next()?)?)]
        }
        "openat" if arguments.contains("O_CREAT") => vec![Call::Create(quoted().next()?)],
        _ => return None,
    })
}
