//! Each cell is played in a process of its own: its panics are counted alone, its disks go with it, and its
//! end is looked at too.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    cells::{Cell, Moment, cells},
    damage,
    fault::{Fault, Kind, open},
    panics, play,
};

const ROLE: &str = "BREAKER_FAULTS_ROLE";
const WORK: &str = "BREAKER_FAULTS_WORK";
const MAY_MOUNT: &str = "BREAKER_FAULTS_MAY_MOUNT";
const READY: &str = "@@ ready";

const NOBODY: u32 = 65534;

/// Where a child begins. Without a role, it checks that an unknown one is refused.
#[test]
fn role() {
    match env::var(ROLE) {
        Ok(role) => assert!(begin(&role), "there is no role {role}"),
        Err(_) => assert!(!begin("nobody")),
    }
}

fn begin(role: &str) -> bool {
    if let Some(kind) = role.strip_prefix("holder ") {
        hold(if kind == "Sled" { Kind::Sled } else { Kind::File });
        return true;
    }
    let Ok(number) = role.parse::<usize>() else { return false };
    let (cell, work) = (cells()[number], env::var(WORK).unwrap());
    let counted = panics::count();
    let work = Path::new(&work);
    let mut result = if cell.fault.is_damage() && cell.moment == Moment::Start {
        damage::play(&cell, work)
    } else {
        play::play(&cell, work, env::var(MAY_MOUNT).is_ok())
    };
    (result["panics"], result["contained"]) = counted();
    // Complete at the moment at which it is seen.
    fs::write(work.join("result.part"), result.to_string()).unwrap();
    fs::rename(work.join("result.part"), work.join("result.json")).unwrap();
    true
}

/// Has the folder until it is killed, or its parent goes.
fn hold(kind: Kind) {
    let store = open(kind, Path::new(&env::var(WORK).unwrap()));
    store.load("any").unwrap();
    println!("\n{READY}");
    let _ = std::io::stdin().lines().next();
}

/// A child process that is killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// One that has the folder once this returns.
    pub(crate) fn holder(kind: Kind, folder: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        as_role(&mut command, &format!("holder {kind:?}"), folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with(READY))));
        Self(child)
    }

    /// One that plays a cell in this folder.
    pub(crate) fn player(number: usize, cell: &Cell, work: &Path, copied: &Path) -> Self {
        let program = env::current_exe().unwrap();
        let mut command = match cell.fault {
            Fault::FullDisk | Fault::FullDiskForLarge if can_mount() => {
                let mut command = Command::new("unshare");
                command.arg("-m").arg(&program).env(MAY_MOUNT, "1");
                command
            }
            Fault::ReadOnly if may_write_anywhere() => as_nobody(copied, work),
            _ => Command::new(&program),
        };
        as_role(&mut command, &number.to_string(), work);
        let output = fs::File::create(work.with_file_name("output")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Self(command.spawn().unwrap())
    }

    /// Waits for the child's result and its end. `None`: it has not come to it in time.
    pub(crate) fn result(&mut self, work: &Path, bound: Duration) -> Option<Ended> {
        let began = Instant::now();
        let mut said = None;
        while began.elapsed() < bound {
            let result = || fs::read(work.join("result.json")).ok();
            if said.is_none() {
                said = result().map(|bytes| (Instant::now(), bytes));
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                let (at, bytes) = said.or_else(|| Some((Instant::now(), result()?)))?;
                let value = serde_json::from_slice(&bytes).ok()?;
                return Some(Ended { status, value, last: at.elapsed() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// How a child ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) value: Value,
    /// From its result to its end.
    pub(crate) last: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn as_role(command: &mut Command, role: &str, work: &Path) {
    command
        .args(["faults::child::role", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(WORK, work)
        // To print from where a panic within sled came can take longer than a store may.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
}

/// The program where anybody may start it. To be made before other processes are: one that begins just then
/// would have the copy open for writing for a moment.
pub(crate) fn copy_program(around: &Path) -> PathBuf {
    let copied = around.join("program");
    fs::copy(env::current_exe().unwrap(), &copied).unwrap();
    permit(around);
    permit(&copied);
    copied
}

fn permit(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Root is stopped by no permission.
fn may_write_anywhere() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        fs::write(folder.path().join("mine"), "").is_ok()
    })
}

/// Whether a process here can be stopped by a permission, if need be as nobody.
pub(crate) fn can_be_stopped(copied: &Path) -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut command = Command::new(copied);
        command.arg("--list").uid(NOBODY).gid(NOBODY).stdout(Stdio::null());
        !may_write_anywhere() || command.status().is_ok_and(|status| status.success())
    })
}

fn as_nobody(program: &Path, work: &Path) -> Command {
    permit(work.parent().unwrap());
    std::os::unix::fs::chown(work, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY);
    command
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
