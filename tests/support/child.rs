//! Child processes. A child is this same test binary, which an environment variable gives a role.
//!
//! A binary that starts children has a test named `child_process` at its root, which calls
//! [`enter`].

use std::{
    env,
    error::Error,
    ffi::OsStr,
    fs::File,
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::wait::MINUTE;

const ROLE: &str = "BREAKER_TEST_ROLE";
const ARGUMENT: &str = "BREAKER_TEST_ARGUMENT_";
/// Precedes each line that a child says to its parent.
const MARK: &str = "@@ ";

pub(crate) type RoleResult = Result<(), Box<dyn Error>>;
/// The name of a role, and what plays it.
pub(crate) type Part = (&'static str, fn() -> RoleResult);

/// Plays the role that the environment names. Without one, this is a test that an unknown role is
/// refused.
pub(crate) fn enter(roles: &[Part]) {
    let play = |name: &str| {
        let (_, play) = roles.iter().find(|(role, _)| *role == name)?;
        Some(play())
    };
    match env::var(ROLE) {
        Ok(role) => play(&role).expect("a known role").expect("the role ends without an error"),
        Err(_) => assert!(play("unknown").is_none()),
    }
}

/// An argument that the parent has passed.
pub(crate) fn argument(name: &str) -> String {
    env::var(format!("{ARGUMENT}{name}")).unwrap_or_else(|_| panic!("no argument {name}"))
}

/// Writes a line for the parent.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Without a parent, nothing reads it.
    let _ = writeln!(out, "{MARK}{line}").and_then(|()| out.flush());
}

/// A child process before its start.
pub(crate) struct Role(Command);

impl Role {
    pub(crate) fn new(name: &str) -> Self {
        Self::by(Command::new(env::current_exe().unwrap()), name)
    }

    /// A role that another command for this program plays.
    pub(crate) fn by(mut command: Command, name: &str) -> Self {
        command
            .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, name)
            // Printing the backtrace of a panic within sled can take longer than a store may.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self(command)
    }

    pub(crate) fn argument(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variable(&format!("{ARGUMENT}{name}"), value)
    }

    /// Sets an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Removes an environment variable that this process may have.
    pub(crate) fn without_variable(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Writes all output of the child to a file; the child can say nothing then.
    pub(crate) fn output(mut self, file: &File) -> Self {
        self.0.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap());
        self
    }

    pub(crate) fn start(mut self) -> Process {
        let mut child = spawn(&mut self.0).unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Process { input: child.stdin.take(), lines, child }
    }
}

/// A program that was just copied may still be open for writing in a process that another test
/// has forked.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let start = Instant::now();
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && start.elapsed() < MINUTE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// A child process, killed on drop.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// The rest of the child's next line of output that contains this text, from the text on.
    pub(crate) fn line_with(&mut self, text: &str) -> Option<String> {
        let mut lines = self.lines.as_mut()?.by_ref().lines().take(1000).map_while(Result::ok);
        lines.find_map(|line| line.find(text).map(|at| line[at..].to_owned()))
    }

    /// The next line that the child says; `None` once the child has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let lines = self.lines.as_mut()?;
        let mut line = String::new();
        for _ in 0..100_000 {
            line.clear();
            let length = lines.read_line(&mut line).ok()?;
            // The end of the child may have cut off the line.
            if length == 0 || !line.ends_with('\n') {
                return None;
            }
            // The child's test harness may have begun the line.
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
        }
        None
    }

    /// Sends an empty line, and returns the answer.
    pub(crate) fn ask(&mut self) -> String {
        self.input.as_mut().expect("piped").write_all(b"\n").unwrap();
        self.line().expect("the child answers")
    }

    /// Sends SIGKILL, and returns what the child said before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.end();
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Sends SIGTERM, and waits for the end.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    /// Sends SIGHUP.
    #[cfg(unix)]
    #[allow(dead_code, reason = "not every binary has children that handle it")]
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Sends SIGSTOP: the child stands still.
    #[cfg(unix)]
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        // A builtin of every shell; a program named `kill` is not everywhere.
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// How the child ended; `None` while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end. Whether it was a failure.
    pub(crate) fn terminated_with_failure(mut self) -> bool {
        !self.child.wait().unwrap().success()
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

#[cfg(unix)]
pub(crate) use unprivileged::{Unprivileged, set_mode};

#[cfg(unix)]
mod unprivileged {
    use std::{
        env, fs,
        os::unix::{
            fs::{PermissionsExt as _, chown},
            process::CommandExt as _,
        },
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    use super::spawn;

    const NOBODY: u32 = 65534;

    pub(crate) fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A way to start this program so that file permissions apply to it. They do not apply to
    /// root, so root starts a copy of the program as the user nobody.
    #[derive(Clone)]
    pub(crate) struct Unprivileged {
        copy: Option<PathBuf>,
    }

    impl Unprivileged {
        /// Copies the program into `folder` if need be. `None`: here permissions apply to no
        /// process that can be started.
        pub(crate) fn prepare(folder: &Path) -> Option<Self> {
            if permissions_apply() {
                return Some(Self { copy: None });
            }
            let copy = folder.join("program");
            fs::copy(env::current_exe().unwrap(), &copy).unwrap();
            set_mode(folder, 0o755);
            set_mode(&copy, 0o755);
            let this = Self { copy: Some(copy) };
            let mut list = this.command();
            let listed = spawn(list.arg("--list").stdout(Stdio::null()));
            let starts = listed.and_then(|mut child| child.wait());
            starts.is_ok_and(|status| status.success()).then_some(this)
        }

        pub(crate) fn command(&self) -> Command {
            let Some(copy) = &self.copy else {
                return Command::new(env::current_exe().unwrap());
            };
            let mut command = Command::new(copy);
            command.uid(NOBODY).gid(NOBODY);
            command
        }

        /// Makes the user of the program the owner of a folder.
        pub(crate) fn give(&self, folder: &Path) {
            if self.copy.is_some() {
                set_mode(folder.parent().unwrap(), 0o755);
                chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    fn permissions_apply() -> bool {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o555);
        fs::write(folder.path().join("file"), "").is_err()
    }
}
