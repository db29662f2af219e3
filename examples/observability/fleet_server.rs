//! The Redis server of the fleet: a process of this example's own.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener as StdListener},
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use super::Result;

const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait for a server, in pauses.
const PATIENCE: u32 = 3000;

/// A server on a free port of the loopback interface, which keeps nothing on disk. Dropped, it is
/// killed.
pub(crate) struct FleetServer {
    port: u16,
    process: Option<Child>,
}

impl FleetServer {
    /// Starts a server. `None`: there is no `redis-server`.
    pub(crate) async fn start() -> Result<Option<Self>> {
        let port = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { port, process: None };
        match server.start_again().await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            started => Ok(started.map(|()| Some(server))?),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server. What it knew is lost.
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts the server on its port, unless it runs.
    pub(crate) async fn start_again(&mut self) -> io::Result<()> {
        for _ in 0..PATIENCE {
            let process = match &mut self.process {
                Some(process) => process,
                none => none.insert(spawn_on(self.port)?),
            };
            if process.try_wait()?.is_some() {
                // Another process may have the port for a moment.
                self.process = None;
            } else if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Err(io::Error::other("redis-server does not start"))
    }
}

fn spawn_on(port: u16) -> io::Result<Child> {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}
