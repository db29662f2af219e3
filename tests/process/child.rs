//! Starting, asking and killing child processes, and the server that they run.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, http::StatusCode, routing::get};
use tower_breaker::{Breaker, CircuitBreakerLayer, Event, SledStore, store::StoreHealth};

const ROLE: &str = "BREAKER_TEST_ROLE";
const FOLDER: &str = "BREAKER_TEST_FOLDER";
/// The kind of store.
pub(crate) const STORE: &str = "BREAKER_TEST_STORE";
const RECOVERY: &str = "BREAKER_TEST_RECOVERY_MS";
/// What precedes a line of a child's that is meant for its parent.
const MARK: &str = "@@ ";
const LONG: Duration = Duration::from_secs(60);

/// Where a child begins. Without a role, it checks that an unknown one is refused.
#[test]
fn role() {
    match std::env::var(ROLE) {
        Ok(role) => play(&role).expect("the role is played to its end"),
        Err(_) => assert!(play("nobody").is_err()),
    }
}

fn play(role: &str) -> Result<(), Box<dyn std::error::Error>> {
    match role {
        "server" => serve(),
        "example" => super::termination::example(),
        "hammer" => super::hammer::hammer(&std::env::var(FOLDER)?),
        "flapping" => super::flapping::flap(&std::env::var(FOLDER)?, &std::env::var(STORE)?),
        _ => Err(format!("there is no role {role}").into()),
    }
}

/// Says something to the parent.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone does not listen.
    let _ = writeln!(out, "{MARK}{line}").and_then(|()| out.flush());
}

/// For a child: whether a store was in trouble at any time, which on a machine that is busy enough one is.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<AtomicBool>);

impl Trouble {
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let seen = Arc::clone(&self.0);
        move |event| {
            if matches!(event, Event::Store(_)) {
                seen.store(true, Ordering::SeqCst);
            }
        }
    }

    fn was_there(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Where breakers did not wait long enough for what was stored, waits until they have it.
    pub(crate) fn wait_until_restored(&self, breakers: &[Breaker]) {
        for breaker in breakers.iter().filter(|_| self.was_there()) {
            eventually("the store answers", || breaker.flush_blocking(LONG).is_ok());
        }
    }
}

pub(crate) struct Process {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &str, folder: &Path, recovery: Duration) -> Self {
        Self::start_by(&std::env::current_exe().unwrap(), role, folder, recovery, |_| {})
    }

    pub(crate) fn start_by(
        program: &Path,
        role: &str,
        folder: &Path,
        recovery: Duration,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program);
        command
            .args(["child::role", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FOLDER, folder)
            .env(RECOVERY, recovery.as_millis().to_string())
            // To print from where a panic within sled came can take longer than a store may.
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        prepare(&mut command);
        let mut child = try_spawn(&mut command).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The child's next line of any kind that begins like this.
    pub(crate) fn line_with(&mut self, beginning: &str) -> Option<String> {
        let mut lines = self.lines.by_ref().lines().take(1000).map_while(Result::ok);
        lines.find_map(|line| line.find(beginning).map(|at| line[at..].to_owned()))
    }

    /// The child's next word to its parent; `None` when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        for _ in 0..100_000 {
            line.clear();
            let length = self.lines.read_line(&mut line).ok()?;
            // A line that was cut off by the end is none.
            if length == 0 || !line.ends_with('\n') {
                return None;
            }
            // The test harness of the child may have begun the line.
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
        }
        None
    }

    /// SIGKILL. Returns what the child had still said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.end();
        std::iter::from_fn(|| self.line()).collect()
    }

    /// SIGTERM, and what becomes of it.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        // What every shell knows; a program of that name is not everywhere.
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap()
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
fn try_spawn(command: &mut Command) -> std::io::Result<Child> {
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

/// Whether it starts, and ends well.
pub(crate) fn can_start(command: &mut Command) -> bool {
    let ended = try_spawn(command).and_then(|mut child| child.wait());
    ended.is_ok_and(|status| status.success())
}

/// A server process.
pub(crate) struct Server {
    process: Process,
    address: String,
}

impl Server {
    pub(crate) fn start(folder: &Path, recovery: Duration) -> Self {
        Self::of(Process::start("server", folder, recovery))
    }

    /// One that finds what another has stored, at its first call or, on a machine that is too busy, soon.
    pub(crate) fn start_again(folder: &Path, recovery: Duration) -> Self {
        let server = Self::start(folder, recovery);
        if server.get("/trouble").2 == "true" {
            server.flush();
        }
        server
    }

    pub(crate) fn of(mut process: Process) -> Self {
        let address = process.line().expect("the server says its address");
        Self { process, address }
    }

    pub(crate) fn kill(self) {
        self.process.kill();
    }

    /// The status and the head of the answer, and its body.
    pub(crate) fn get(&self, path: &str) -> (u16, String, String) {
        get_from(&self.address, path)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn status(&self, path: &str) -> u16 {
        self.get(path).0
    }

    /// Makes the circuit trip.
    pub(crate) fn trip(&self) {
        for _ in 0..5 {
            assert_eq!(self.status("/fail"), 500);
        }
        assert_eq!(self.status("/ok"), 503);
    }

    /// Waits until what was there at this moment is durable.
    pub(crate) fn flush(&self) {
        eventually("it is durable", || self.status("/flush") == 200);
    }

    /// How many calls reached the service behind the breaker.
    pub(crate) fn calls(&self) -> u32 {
        self.get("/calls").2.parse().unwrap()
    }

    pub(crate) fn state(&self) -> String {
        let snapshot: serde_json::Value = serde_json::from_str(&self.get("/snapshot").2).unwrap();
        snapshot["state"].as_str().unwrap().to_owned()
    }

    /// How the store is doing: `Healthy`, or `Degraded` with the reason.
    pub(crate) fn health(&self) -> String {
        self.get("/health").2
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        self.get("/log").2
    }
}

/// A request over HTTP/1.1, by hand: the tests' own client must not hide anything.
pub(crate) fn get_from(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// Waits until it is so, a minute at most: a store that failed for long is asked every five seconds.
pub(crate) fn eventually(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while began.elapsed() < LONG {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("still not so after a minute: {what}");
}

/// The server of the role: `/ok`, `/slow` and `/fail` stand behind the breaker.
#[tokio::main(flavor = "current_thread")]
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::default();
    let written = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).init();

    let recovery = Duration::from_millis(std::env::var(RECOVERY)?.parse()?);
    let trouble = Trouble::default();
    let layer = CircuitBreakerLayer::builder("upstream")
        .on_event(trouble.listener())
        .recovery_timeout(recovery)
        .flush_interval(Duration::from_millis(50))
        .store(SledStore::open(std::env::var(FOLDER)?)?)
        .http()
        .build()?;
    let breaker: Breaker = layer.breaker().clone();
    let (shown, flushed, healthy) = (breaker.clone(), breaker.clone(), breaker);
    let calls = Arc::new(AtomicU32::new(0));
    let answer = |status: StatusCode, pause: u64| {
        let calls = Arc::clone(&calls);
        get(move || async move {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            status
        })
    };
    let router = Router::new()
        .route("/ok", answer(StatusCode::OK, 0))
        .route("/slow", answer(StatusCode::OK, 500))
        .route("/fail", answer(StatusCode::INTERNAL_SERVER_ERROR, 0))
        .route_layer(layer);
    let counted = Arc::clone(&calls);
    let router = router
        .route("/calls", get(move || async move { counted.load(Ordering::SeqCst).to_string() }))
        .route("/snapshot", get(move || async move { Json(shown.snapshot()) }))
        .route("/health", get(move || async move { describe(&healthy.store_health()) }))
        .route("/trouble", get(move || async move { trouble.was_there().to_string() }))
        .route("/log", get(move || async move { log.text() }))
        .route(
            "/flush",
            get(move || async move {
                match flushed.flush().await {
                    Ok(()) => StatusCode::OK,
                    Err(_) => StatusCode::INSUFFICIENT_STORAGE,
                }
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    say(&listener.local_addr()?.to_string());
    Ok(axum::serve(listener, router).await?)
}

/// What the server has logged, in memory: a killed process cannot clean up a file.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn describe(health: &StoreHealth) -> String {
    match health {
        StoreHealth::Degraded { reason, .. } => format!("Degraded: {reason}"),
        other => format!("{other:?}"),
    }
}
