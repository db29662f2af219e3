//! Redis servers that a test starts on a free port of the loopback interface, and stops.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use super::wait::{eventually, holds_in_time};

/// Whether a missing service fails the tests that need it. `.ci/run` sets it.
const REQUIRED: &str = "TOWER_BREAKER_REQUIRE_SERVICES";

/// The name of the file with the port of a server, in its folder.
pub(crate) const PORT: &str = "redis.port";
const PID: &str = "redis.pid";
/// The configuration of a sentinel, which it changes itself.
const SENTINEL: &str = "sentinel.conf";
const ARGUMENTS: &str = "redis.arguments";

/// A server of this process alone, stopped when this is dropped.
pub(crate) struct RedisServer {
    control: Control,
    _folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk. `None`: there is no `redis-server`, and the test
    /// is skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments, such as `["--requirepass", "secret"]`.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    /// Starts a sentinel with this configuration.
    pub(crate) fn start_sentinel(configuration: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SENTINEL), configuration).unwrap();
        Self::start_in(folder, &[])
    }

    fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        fs::write(folder.path().join(ARGUMENTS), arguments.join("\n")).unwrap();
        // Another process may take the port before the server does.
        for _ in 0..10 {
            let control = Control { port: free_port(), folder: folder.path().to_owned() };
            if control.try_start() {
                fs::write(folder.path().join(PORT), control.port.to_string()).unwrap();
                return Some(Self { control, _folder: folder });
            }
        }
        panic!("redis-server does not start: {}", log(folder.path()));
    }

    /// The folder of the server.
    pub(crate) fn folder(&self) -> &Path {
        &self.control.folder
    }
}

impl std::ops::Deref for RedisServer {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Controls a server, perhaps of another process.
pub(crate) struct Control {
    port: u16,
    folder: PathBuf,
}

/// The processes of servers that this process has started, to be waited for.
static STARTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

impl Control {
    /// Controls the server whose folder this is, or is above this one.
    pub(crate) fn of(folder: &Path) -> Self {
        let found = folder.ancestors().find(|at| at.join(PORT).exists());
        let folder = found.expect("a server for the folder").to_owned();
        let port = fs::read_to_string(folder.join(PORT)).unwrap().parse().unwrap();
        Self { port, folder }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server. What it holds in memory is gone.
    pub(crate) fn stop(&self) {
        let Ok(pid) = fs::read_to_string(self.folder.join(PID)) else { return };
        signal("KILL", pid.trim());
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = started.iter().position(|child| child.id().to_string() == pid.trim()) {
            started.swap_remove(place).wait().unwrap();
        }
        drop(started);
        let _ = fs::remove_file(self.folder.join(PID));
        eventually("the server is gone", || !answers(self.port));
    }

    /// Starts the server again on its port.
    pub(crate) fn restart(&self) {
        self.stop();
        // The port may be in use for a moment.
        let is_up = holds_in_time(|| self.try_start());
        assert!(is_up, "redis-server does not start again: {}", log(&self.folder));
    }

    /// Stops the process with `STOP`, or lets it go on with `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, fs::read_to_string(self.folder.join(PID)).unwrap().trim());
    }

    /// Sends a command, and returns the reply as text: arrays with a line for each element.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        self.command_as(&[], arguments)
    }

    /// The same after logging in with the arguments of `AUTH`.
    ///
    /// Without a reply, the command is sent again for a minute: a server whose role changes closes
    /// the connections of its clients.
    #[track_caller]
    pub(crate) fn command_as(&self, auth: &[&str], arguments: &[&str]) -> String {
        let mut answer = None;
        let has_answered = holds_in_time(|| {
            answer = self.try_command(auth, arguments);
            answer.is_some()
        });
        assert!(has_answered, "no reply to {arguments:?}: {}", log(&self.folder));
        answer.unwrap()
    }

    /// `None`: the server has not replied.
    fn try_command(&self, auth: &[&str], arguments: &[&str]) -> Option<String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut reader = BufReader::new(stream);
        if !auth.is_empty() {
            let auth: Vec<_> = ["AUTH"].iter().chain(auth).copied().collect();
            send(&mut reader, &auth);
            assert_eq!(reply(&mut reader)?, "OK");
        }
        send(&mut reader, arguments);
        reply(&mut reader)
    }

    /// Starts the server, and waits until it answers. `false` if it ends before.
    fn try_start(&self) -> bool {
        let mut process = self.spawn();
        let mut is_up = false;
        eventually("redis-server answers or ends", || {
            let has_ended = process.try_wait().unwrap().is_some();
            is_up = !has_ended && answers(self.port);
            is_up || has_ended
        });
        if is_up {
            STARTED.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        }
        is_up
    }

    fn spawn(&self) -> Child {
        let arguments = fs::read_to_string(self.folder.join(ARGUMENTS)).unwrap();
        let sentinel = self.folder.join(SENTINEL);
        let mut command = Command::new("redis-server");
        if sentinel.exists() {
            command.arg(sentinel).arg("--sentinel");
        } else {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--daemonize", "no", "--logfile", "redis.log", "--dir"])
            .arg(&self.folder)
            .arg("--pidfile")
            .arg(self.folder.join(PID))
            .args(arguments.lines())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// A server that the tests of this binary share, each with keys of its own. It is stopped when no
/// test uses it any more.
pub(crate) fn shared() -> Option<Arc<RedisServer>> {
    static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(RedisServer::start()?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// Whether there is a `redis-server`. If not, the test says so and is skipped, unless services are
/// required.
pub(crate) fn is_installed() -> bool {
    let run = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if run.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(env::var_os(REQUIRED).is_none(), "redis-server is missing, and {REQUIRED} is set");
    // The harness counts it as passed: a test cannot be ignored once it runs. Unlike that of
    // `eprintln`, this line is seen, in the harness's words.
    let thread = std::thread::current();
    let _ = writeln!(
        std::io::stderr(),
        "test {} ... ignored, redis-server is missing (Debian: apt-get install redis-server)",
        thread.name().unwrap_or_default(),
    );
    false
}

/// A port that no process listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).status().unwrap();
    assert!(status.success(), "the server has ended by itself");
}

fn answers(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut reader = BufReader::new(stream);
    send(&mut reader, &["PING"]);
    let mut line = String::new();
    // A server with a password refuses the command, and is up.
    reader.read_line(&mut line).is_ok() && (line == "+PONG\r\n" || line.starts_with("-NOAUTH"))
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("redis.log")).unwrap_or_default()
}

fn send(reader: &mut BufReader<TcpStream>, arguments: &[&str]) {
    let parts = arguments.iter().map(|part| format!("${}\r\n{part}\r\n", part.len()));
    let command = format!("*{}\r\n{}", arguments.len(), parts.collect::<String>());
    // A server that ends meanwhile gives no reply.
    let _ = reader.get_mut().write_all(command.as_bytes());
}

/// `None`: the server has closed the connection, or the reply is empty.
fn reply(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    // Without its end, the connection was closed within it.
    let line = line.strip_suffix("\r\n")?;
    let (kind, rest) = line.split_at_checked(1)?;
    match kind {
        "+" | "-" | ":" => Some(rest.to_owned()),
        "$" if rest == "-1" => Some("(nil)".to_owned()),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
            reader.read_exact(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned())
        }
        "*" => {
            let replies = (0..rest.parse::<i64>().unwrap()).map(|_| reply(reader));
            Some(replies.collect::<Option<Vec<_>>>()?.join("\n"))
        }
        _ => panic!("unexpected reply: {line:?}"),
    }
}
