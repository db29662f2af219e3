//! How each fault begins and ends.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tower_breaker::{
    StateStore,
    store::{SaveEntry, StoreError},
};

use super::{child, failing_sync, server::ServerFault};
use crate::support::{
    child::Process,
    kind::Kind,
    random::Random,
    sick_store::{SickStore, Symptom},
    wait::holds_in_time,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another store of this process holds the folder. If the store already has it open, the folder
    /// is replaced with that of the other store.
    HeldByAHandle,
    HeldByAProcess,
    ReadOnly,
    FullDisk,
    /// Writes are so large that sled puts them into files of their own.
    FullDiskForLarge,
    Deleted,
    Hangs,
    Slow,
    ErrsAtRandom,
    Truncated,
    BitsFlipped,
    /// The files of sled that hold no data: summaries of the log, and settings.
    DamagedSummary,
    /// What was written cannot be made durable.
    SyncFails,
    Server(ServerFault),
}

impl Fault {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::HeldByAHandle => "held by a handle",
            Self::HeldByAProcess => "held by a process",
            Self::ReadOnly => "read-only",
            Self::FullDisk => "disk full",
            Self::FullDiskForLarge => "disk full, 128 kB",
            Self::Deleted => "folder deleted",
            Self::Hangs => "hangs",
            Self::Slow => "5 s a write",
            Self::ErrsAtRandom => "30% errors",
            Self::Truncated => "truncated",
            Self::BitsFlipped => "bits flipped",
            Self::DamagedSummary => "summary damaged",
            Self::SyncFails => "sync fails",
            Self::Server(fault) => fault.words(),
        }
    }

    /// Whether the fault damages stored data.
    pub(crate) const fn is_damage(self) -> bool {
        matches!(self, Self::Truncated | Self::BitsFlipped)
    }

    pub(crate) const fn is_full_disk(self) -> bool {
        matches!(self, Self::FullDisk | Self::FullDiskForLarge)
    }

    /// Whether only the end of the process ends the fault.
    pub(crate) const fn lasts(self) -> bool {
        matches!(self, Self::Hangs)
    }

    /// How long after the start of the drop the fault ends.
    pub(crate) const fn passes_after(self) -> Duration {
        match self {
            // A store counts as hanging after a second.
            Self::Hangs | Self::Server(ServerFault::Stopped) => Duration::from_millis(1500),
            _ => Duration::from_millis(150),
        }
    }

    const fn symptom(self) -> Option<Symptom> {
        match self {
            Self::Hangs => Some(Symptom::Hangs),
            Self::Slow => Some(Symptom::WritesSlowly),
            Self::ErrsAtRandom => Some(Symptom::FailsAtRandom),
            _ => None,
        }
    }
}

/// The store of a cell, its folder, and its fault.
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) fault: Fault,
    /// The folder of the store.
    pub(crate) folder: PathBuf,
    work: PathBuf,
    /// Whether a small disk is mounted at `work/disk`.
    pub(crate) mounted: bool,
    opened: Option<Arc<dyn StateStore>>,
    /// Around the opened store, if the fault is a symptom.
    sick: Option<SickStore>,
    holder: Option<Holder>,
    random: Random,
}

enum Holder {
    Handle { _store: Arc<dyn StateStore> },
    Process { _process: Process },
}

impl Site {
    pub(crate) fn new(kind: Kind, fault: Fault, work: &Path, may_mount: bool) -> Self {
        let disk = work.join("disk");
        fs::create_dir_all(&disk).unwrap();
        let mounted = fault.is_full_disk() && may_mount && mount(&disk);
        Self {
            kind,
            fault,
            folder: disk.join("state"),
            work: work.to_owned(),
            mounted,
            opened: None,
            sick: None,
            holder: None,
            random: Random::new(500),
        }
    }

    pub(crate) fn bare(&self) -> Arc<dyn StateStore> {
        self.kind.open(&self.folder)
    }

    /// The store of the breakers, without symptoms.
    pub(crate) fn opened(&self) -> Arc<dyn StateStore> {
        Arc::clone(self.opened.as_ref().expect("the store is open"))
    }

    /// The store for the breakers.
    pub(crate) fn store(&mut self) -> Arc<dyn StateStore> {
        let bare = self.bare();
        self.opened = Some(Arc::clone(&bare));
        if self.is_symptom() {
            let sick = SickStore::around(bare);
            self.sick = Some(sick.clone());
            Arc::new(sick)
        } else {
            bare
        }
    }

    fn is_symptom(&self) -> bool {
        self.fault.symptom().is_some() || (self.fault == Fault::FullDisk && !self.mounted)
    }

    /// Begins the fault. `running`: the store has its folder open.
    pub(crate) fn strike(&mut self, running: bool) {
        match self.fault {
            Fault::HeldByAHandle | Fault::HeldByAProcess => self.hold(running),
            Fault::ReadOnly => self.permit(0o555, 0o444),
            Fault::FullDisk if self.mounted => {
                fill(&self.folder.with_file_name("ballast"));
                if running {
                    self.use_up_the_rest();
                }
            }
            Fault::FullDiskForLarge if self.mounted => {
                fill(&self.folder.with_file_name("ballast"));
                // There may be room for some in the log.
                let error = (0..100).find_map(|number| self.write_what_is_large(number).err());
                let error = error.expect("the disk has an end").to_string();
                assert!(error.contains("No space left"), "{error}");
            }
            Fault::FullDiskForLarge => {}
            Fault::FullDisk => self.show(Symptom::DiskIsFull),
            Fault::Deleted => delete(&self.folder),
            Fault::Server(fault) => fault.strike(&self.folder),
            Fault::Truncated | Fault::BitsFlipped => drop(self.damage()),
            Fault::DamagedSummary => {
                fs::write(self.folder.join("snap.00000000FFFFFFFF"), "not a summary").unwrap();
                fs::write(self.folder.join("conf"), "not settings").unwrap();
            }
            Fault::SyncFails => fs::write(failing_sync::switch(&self.work), "").unwrap(),
            Fault::Hangs | Fault::Slow | Fault::ErrsAtRandom => {
                self.show(self.fault.symptom().unwrap_or(Symptom::None));
            }
        }
    }

    /// Ends the fault.
    pub(crate) fn lift(&mut self) {
        self.holder = None;
        match self.fault {
            Fault::ReadOnly => self.permit(0o755, 0o644),
            Fault::Server(fault) => fault.lift(&self.folder),
            Fault::SyncFails => {
                let _ = fs::remove_file(failing_sync::switch(&self.work));
            }
            Fault::FullDisk | Fault::FullDiskForLarge if self.mounted => {
                fs::remove_file(self.folder.with_file_name("ballast")).unwrap();
                if self.fault == Fault::FullDiskForLarge {
                    let healed = holds_in_time(|| self.write_what_is_large(0).is_ok());
                    assert!(healed, "{:?}", self.write_what_is_large(0));
                }
            }
            _ if self.is_symptom() => self.show(Symptom::None),
            _ => {}
        }
    }

    fn show(&self, symptom: Symptom) {
        self.sick.as_ref().expect("the fault is a symptom").show(symptom);
    }

    /// Fills the room that a database may have left in its files, or free when it is opened again.
    fn use_up_the_rest(&self) {
        let store = self.opened();
        let mut number = 0;
        for _ in 0..100 {
            let first = number;
            let full = (0..10_000).any(|_| {
                number += 1;
                store.save(&SaveEntry::new(format!("filler {number}"), [b'.'; 400])).is_err()
            });
            assert!(full, "the disk has no end");
            fill(&self.folder.with_file_name("ballast"));
            if number == first + 1 {
                return;
            }
        }
        panic!("the disk is never full");
    }

    /// sled would wait forever if it could not write it into a file of its own, so it is written in
    /// pieces.
    fn write_what_is_large(&self, number: u32) -> Result<(), StoreError> {
        self.opened().save(&SaveEntry::new(format!("large {number}"), vec![b'.'; 200_000]))
    }

    /// The path of the folder after another one has replaced it.
    pub(crate) fn moved(&self) -> PathBuf {
        self.work.join("moved")
    }

    /// The folders that the store has moved aside as unreadable.
    pub(crate) fn asides(&self) -> Vec<String> {
        let around = fs::read_dir(self.work.join("disk")).unwrap();
        let names = around.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".corrupt-")).collect()
    }

    fn hold(&mut self, running: bool) {
        let other = self.work.join("other");
        let held = if running { &other } else { &self.folder };
        self.holder = Some(if self.fault == Fault::HeldByAHandle {
            let store = self.kind.open(held);
            store.load("any").unwrap();
            Holder::Handle { _store: store }
        } else {
            Holder::Process { _process: child::holder(self.kind, held) }
        });
        if running {
            fs::rename(&self.folder, self.moved()).unwrap();
            fs::rename(&other, &self.folder).unwrap();
        }
    }

    fn permit(&self, folder: u32, file: u32) {
        let permit = |path: &Path, mode| {
            let permissions = fs::Permissions::from_mode(mode);
            match fs::set_permissions(path, permissions) {
                // A running store creates and removes files.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path != self.folder => {}
                done => done.unwrap(),
            }
        };
        // The folder comes first: while it is writable, the store creates more files.
        permit(&self.folder, folder);
        for path in files_below(&self.folder) {
            permit(&path, file);
        }
    }

    /// Damages one file of the folder at a random place, and returns which.
    pub(crate) fn damage(&mut self) -> String {
        // A running store may have removed the file: then another one is damaged.
        (0..1000).find_map(|_| self.damage_one().ok()).expect("a file that can be damaged")
    }

    fn damage_one(&mut self) -> io::Result<String> {
        let mut files = files_below(&self.folder);
        files.retain(|file| fs::metadata(file).is_ok_and(|found| found.len() > 0));
        files.sort();
        // One file has most of a database.
        let name = if self.kind == Kind::Redb { "breakers.redb" } else { "db" };
        let database = self.folder.join(name);
        let file = if files.contains(&database) && self.random.below(10) < 7 {
            database
        } else {
            files[self.random.index(files.len())].clone()
        };
        let mut bytes = fs::read(&file)?;
        // Not in the zeros at the end.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let place = self.random.index(end);
        let changed = fs::OpenOptions::new().write(true).open(&file)?;
        if self.fault == Fault::Truncated {
            changed.set_len(place as u64)?;
        } else {
            for place in [place, self.random.index(end), self.random.index(end)] {
                bytes[place] ^= 1 << self.random.below(8);
                if self.random.below(2) == 0 {
                    break;
                }
            }
            std::os::unix::fs::FileExt::write_all_at(&changed, &bytes, 0)?;
        }
        Ok(format!("{} at {place} of {end}", file.file_name().unwrap().display()))
    }
}

/// Retries, because a store that is writing creates files in the folder.
fn delete(folder: &Path) {
    let gone = (0..1000).any(|_| match fs::remove_dir_all(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound && !folder.exists(),
    });
    assert!(gone, "the folder cannot be removed");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Copies the folder as a process that starts after a kill would find it.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = (entry.as_ref().unwrap().path(), entry?.file_name());
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            // `fs::copy` would copy permissions too.
            fs::write(to.join(name), fs::read(path)?)?;
        }
    }
    Ok(())
}

/// Mounts a disk of two megabytes, which ends with this process.
pub(super) fn mount(place: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(place);
    mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Fills the disk to the last byte.
pub(super) fn fill(ballast: &Path) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(ballast).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        let bytes = vec![b'.'; size];
        for _ in 0..100 {
            if file.write_all(&bytes).is_err() {
                break;
            }
        }
    }
}
