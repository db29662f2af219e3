//! Redis servers that a test starts on a free port of the loopback interface, and stops.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use super::wait::{eventually, holds_in_time};

/// Whether a missing service fails the tests that need it. `.ci/run` sets it.
const REQUIRED: &str = "TOWER_BREAKER_REQUIRE_SERVICES";

/// A server of this process alone, stopped when this is dropped.
pub(crate) struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    process: Mutex<Child>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk. `None`: there is no `redis-server`, and the test
    /// is skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments, such as `["--requirepass", "secret"]`.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        // Another process may take the port before the server does.
        for _ in 0..10 {
            let port = free_port();
            let mut process = spawn(port, folder.path(), &arguments);
            if comes_up(port, &mut process) {
                return Some(Self { port, arguments, folder, process: Mutex::new(process) });
            }
            end(&mut process);
        }
        panic!("redis-server does not start: {}", log(folder.path()));
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The id of the server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process().id()
    }

    /// Kills the server. What it held is gone.
    pub(crate) fn stop(&self) {
        end(&mut self.process());
    }

    /// Starts the server again on its port, empty.
    pub(crate) fn restart(&self) {
        self.stop();
        // The port may be in use for a moment.
        let is_up = holds_in_time(|| {
            let mut process = spawn(self.port, self.folder.path(), &self.arguments);
            let is_up = comes_up(self.port, &mut process);
            *self.process() = process;
            is_up
        });
        assert!(is_up, "redis-server does not start again: {}", log(self.folder.path()));
    }

    /// Stops the process with `SIGSTOP`, or lets it go on with `SIGCONT`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Sends a command, and returns the reply as text: arrays with a line for each element.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        self.command_as(&[], arguments)
    }

    /// The same after logging in with the arguments of `AUTH`.
    pub(crate) fn command_as(&self, auth: &[&str], arguments: &[&str]) -> String {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut reader = BufReader::new(stream);
        if !auth.is_empty() {
            let auth: Vec<_> = ["AUTH"].iter().chain(auth).copied().collect();
            send(&mut reader, &auth);
            assert_eq!(reply(&mut reader), "OK");
        }
        send(&mut reader, arguments);
        reply(&mut reader)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
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
    eprintln!("skipped: redis-server is missing (Debian: apt-get install redis-server)");
    false
}

/// A port that no process listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, folder: &Path, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--logfile", "redis.log", "--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the server answers. `false` if it ends before.
fn comes_up(port: u16, process: &mut Child) -> bool {
    let mut is_up = false;
    eventually("redis-server answers or ends", || {
        is_up = answers(port) && process.try_wait().unwrap().is_none();
        is_up || process.try_wait().unwrap().is_some()
    });
    is_up
}

fn answers(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut reader = BufReader::new(stream);
    send(&mut reader, &["PING"]);
    let mut line = String::new();
    // A server with a password refuses the command, and is up.
    reader.read_line(&mut line).is_ok() && (line == "+PONG\r\n" || line.starts_with("-NOAUTH"))
}

fn end(process: &mut Child) {
    // It may have ended by itself.
    let _ = process.kill();
    process.wait().unwrap();
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

fn reply(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        "+" | "-" | ":" => rest.to_owned(),
        "$" if rest == "-1" => "(nil)".to_owned(),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
            reader.read_exact(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned()
        }
        "*" => {
            let replies = (0..rest.parse::<i64>().unwrap()).map(|_| reply(reader));
            replies.collect::<Vec<_>>().join("\n")
        }
        _ => panic!("unexpected reply: {line:?}"),
    }
}
