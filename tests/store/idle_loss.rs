//! Folders that are removed or replaced while nothing is saved or read.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, Event, State, store::StoreHealth};

use crate::support::{
    kind::Kind,
    wait::{MINUTE, eventually},
};

/// Ten times the default flush interval. Without a check while idle, the next operation would be
/// the first sweep, after ten minutes.
const SOON: Duration = Duration::from_secs(10);

/// Two idle breakers whose state is stored, and the health that the listener of the first received.
struct Idle {
    open: Breaker,
    other: Breaker,
    health: Arc<Mutex<Vec<StoreHealth>>>,
}

impl Idle {
    fn on(kind: Kind, folder: &Path) -> Self {
        let (store, health) = (kind.open(folder), Arc::new(Mutex::new(Vec::new())));
        let listener = Arc::clone(&health);
        let open = Breaker::builder("open")
            .store(Arc::clone(&store))
            .on_event(move |event| {
                if let Event::Store(event) = event {
                    listener.lock().unwrap().push(event.health.clone());
                }
            })
            .build()
            .unwrap();
        let other = Breaker::builder("other").store(store).build().unwrap();
        open.force_open();
        other.try_acquire().unwrap().failure();
        for breaker in [&open, &other] {
            eventually("it is stored", || breaker.flush_blocking(MINUTE).is_ok());
        }
        // A busy disk can take longer than a second.
        eventually("it is healthy", || open.store_health().is_healthy());
        health.lock().unwrap().clear();
        Self { open, other, health }
    }

    /// Waits until the loss was announced and everything is stored again.
    fn assert_recovers(&self, kind: Kind) {
        let began = Instant::now();
        eventually("the loss is announced", || !self.health.lock().unwrap().is_empty());
        let took = began.elapsed();
        let StoreHealth::Degraded { reason, .. } = self.health.lock().unwrap()[0].clone() else {
            panic!("{kind:?}: not degraded")
        };
        assert!(reason.contains("removed or replaced"), "{kind:?}: {reason}");
        assert!(took < SOON, "{kind:?}: announced after {took:?}");
        eventually("it is healthy again", || self.health.lock().unwrap().len() > 1);
        assert!(self.health.lock().unwrap()[1].is_healthy(), "{kind:?}");
    }

    /// Checks what the next process would find.
    fn assert_stored(self, kind: Kind, folder: &Path) {
        drop((self.open, self.other));
        let store = kind.open(folder);
        eventually("the folder is free", || store.load_page(None, 1).is_ok());
        let open = Breaker::builder("open").store(Arc::clone(&store)).build().unwrap();
        let other = Breaker::builder("other").store(store).build().unwrap();
        eventually("both are restored", || {
            open.state() == State::ForcedOpen && other.stats().consecutive_failures() == 1
        });
    }
}

#[test]
fn a_folder_that_is_removed_while_idle_is_noticed_and_stored_again() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let idle = Idle::on(kind, &folder);
        fs::remove_dir_all(&folder).unwrap();
        idle.assert_recovers(kind);
        // A kill now would lose nothing: the drop below has nothing left to save.
        let health = idle.other.store_health();
        assert!(health.is_healthy() && folder.is_dir(), "{kind:?}: {health}");
        idle.assert_stored(kind, &folder);
    }
}

/// As when a backup is put in its place.
#[cfg(unix)]
#[test]
fn a_folder_that_is_replaced_while_idle_is_noticed_and_stored_again() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (folder, backup) = (dir.path().join("state"), dir.path().join("backup"));
        let store = kind.open(&backup);
        let breaker = Breaker::builder("open").store(Arc::clone(&store)).build().unwrap();
        breaker.disable();
        eventually("the backup is stored", || breaker.flush_blocking(MINUTE).is_ok());
        drop((breaker, store));

        let idle = Idle::on(kind, &folder);
        fs::rename(&folder, dir.path().join("moved")).unwrap();
        fs::rename(&backup, &folder).unwrap();
        idle.assert_recovers(kind);
        idle.assert_stored(kind, &folder);
    }
}

#[test]
fn a_folder_that_has_become_a_file_is_reported_and_stored_again_when_the_file_is_gone() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let idle = Idle::on(kind, &folder);
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "not a folder").unwrap();
        eventually("the loss is announced", || !idle.health.lock().unwrap().is_empty());
        idle.open.reset();
        idle.open.try_acquire().expect("closed").failure();
        idle.open.force_open();
        for _ in 0..3 {
            let flushed = idle.open.flush_blocking(SOON);
            assert!(flushed.is_err() && !idle.open.store_health().is_healthy(), "{kind:?}");
        }
        assert_eq!(fs::read(&folder).unwrap(), b"not a folder", "{kind:?}");
        fs::remove_file(&folder).unwrap();
        eventually("it is healthy again", || idle.open.store_health().is_healthy());
        for breaker in [&idle.open, &idle.other] {
            eventually("it is stored", || breaker.flush_blocking(MINUTE).is_ok());
        }
        idle.assert_stored(kind, &folder);
    }
}

/// A breaker on an idle store stays healthy, and nothing is written.
#[test]
fn checking_an_idle_store_announces_and_writes_nothing() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let idle = Idle::on(kind, &folder);
        let written = || {
            let files = walk(&folder).into_iter().map(|file| fs::metadata(file).unwrap());
            files.map(|file| file.modified().unwrap()).max().unwrap()
        };
        let before = written();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(written(), before, "{kind:?}");
        assert_eq!(idle.health.lock().unwrap().len(), 0, "{kind:?}");
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
