//! Each cell runs in a process of its own, so that its panics are counted alone, its mounts go
//! with it, and its end is observed too.

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    cells::{Cell, Moment, cells},
    damage, failing_sync,
    fault::Fault,
    panics, play,
};
use crate::support::{
    child::{Process, Role, RoleResult, Unprivileged, argument, say},
    kind::Kind,
};

pub(crate) const CELL: &str = "fault cell";
pub(crate) const HOLDER: &str = "folder holder";

/// The role of a child that runs one cell.
pub(crate) fn run_cell() -> RoleResult {
    let cell = cells()[argument("CELL").parse::<usize>()?];
    let (work, may_mount) = (argument("WORK"), argument("MAY_MOUNT") == "true");
    let work = Path::new(&work);
    let counted = panics::count();
    let mut result = if cell.fault.is_damage() && cell.moment == Moment::Start {
        damage::play(&cell, work)
    } else {
        play::play(&cell, work, may_mount)
    };
    (result["panics"], result["contained"]) = counted();
    // Complete as soon as it is visible.
    fs::write(work.join("result.part"), result.to_string())?;
    fs::rename(work.join("result.part"), work.join("result.json"))?;
    Ok(())
}

/// The role of a child that holds a folder until it is killed or its parent ends.
pub(crate) fn hold() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    store.load("any")?;
    say("ready");
    let _ = std::io::stdin().lines().next();
    Ok(())
}

/// Starts a process that holds the folder.
pub(crate) fn holder(kind: Kind, folder: &Path) -> Process {
    let role = Role::new(HOLDER).argument("KIND", kind.name()).argument("FOLDER", folder);
    let mut process = role.start();
    assert_eq!(process.line().as_deref(), Some("ready"));
    process
}

/// A process that runs a cell.
pub(crate) struct Player(Process);

impl Player {
    pub(crate) fn start(
        number: usize,
        cell: &Cell,
        work: &Path,
        unprivileged: Option<&Unprivileged>,
        failing_sync: Option<&Path>,
    ) -> Self {
        let program = env::current_exe().unwrap();
        let mounts = cell.fault.is_full_disk() && can_mount();
        let command = if mounts {
            let mut command = Command::new("unshare");
            command.arg("-m").arg(&program);
            command
        } else if cell.fault == Fault::ReadOnly {
            let unprivileged = unprivileged.expect("otherwise the cell is skipped");
            unprivileged.give(work);
            unprivileged.command()
        } else {
            Command::new(&program)
        };
        let mut role = Role::by(command, CELL)
            .argument("CELL", number.to_string())
            .argument("WORK", work)
            .argument("MAY_MOUNT", mounts.to_string());
        if mounts {
            // Full, too: copies are made in `/dev/shm`.
            role = role.variable("TMPDIR", work.join("disk"));
        }
        if cell.fault == Fault::SyncFails {
            let library = failing_sync.expect("otherwise the cell is skipped");
            role = role.variable("LD_PRELOAD", library);
            role = role.variable("BREAKER_SYNC_FAULT", failing_sync::switch(work));
        }
        let output = fs::File::create(work.with_file_name("output")).unwrap();
        Self(role.output(&output).start())
    }

    /// Waits for the result and the end of the process. `None`: there is none in time.
    pub(crate) fn result(&mut self, work: &Path, bound: Duration) -> Option<Ended> {
        let start = Instant::now();
        let mut found = None;
        while start.elapsed() < bound {
            let result = || fs::read(work.join("result.json")).ok();
            if found.is_none() {
                found = result().map(|bytes| (Instant::now(), bytes));
            }
            if let Some(status) = self.0.status() {
                let (at, bytes) = found.or_else(|| Some((Instant::now(), result()?)))?;
                let value = serde_json::from_slice(&bytes).ok()?;
                return Some(Ended { status, value, last: at.elapsed() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) value: Value,
    /// The time from its result to its end.
    pub(crate) last: Duration,
}

/// Whether a process here may have mounts of its own.
pub(crate) fn can_mount() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut command = Command::new("unshare");
        command.args(["-m", "mount", "-t", "tmpfs", "-o", "size=2m", "none"]);
        command.arg(env::temp_dir()).stdout(Stdio::null()).stderr(Stdio::null());
        let forbidden = env::var("BREAKER_FAULTS_MOUNT").is_ok_and(|may| may == "never");
        !forbidden && command.status().is_ok_and(|status| status.success())
    })
}
