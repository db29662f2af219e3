//! Child processes. Dropping one kills it.

use std::{
    env,
    io::{self, BufRead, BufReader, ErrorKind},
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Deref,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode, header::RETRY_AFTER};

use super::Result;

pub(crate) struct Process(Child);

impl Process {
    /// Sends SIGKILL: no destructor runs, and no lease or connection is given back.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// A Redis server that keeps nothing on disk.
pub(crate) struct Redis {
    pub(crate) url: String,
    _process: Process,
}

impl Redis {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => "redis-server is not installed: this example runs one of its \
                 own (Debian: apt-get install redis-server)"
                .into(),
            _ => format!("redis-server does not start: {error}"),
        })?;
        let mut process = Process(child);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if process.0.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(30) {
                return Err("redis-server does not start".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { url: format!("redis://127.0.0.1:{port}"), _process: process })
    }
}

/// This program as a server, or as the upstream.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    process: Process,
}

impl Server {
    pub(crate) fn start(role: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let is_verbose = env::var_os("RUST_LOG").is_some();
        let mut child = Command::new(env::current_exe()?)
            .arg(role)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(if is_verbose { Stdio::inherit() } else { Stdio::null() })
            .spawn()?;
        let stdout = child.stdout.take();
        let process = Process(child);
        let mut url = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut url)?;
        }
        if !url.starts_with("http") {
            return Err(format!("the {role} does not start").into());
        }
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { endpoint: Endpoint { url: url.trim().to_owned(), client }, process })
    }

    pub(crate) fn kill(&mut self) -> Result {
        Ok(self.process.kill()?)
    }
}

impl Deref for Server {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// What a server answers to a request.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Of a rejected call.
    pub(crate) retry_after: Option<u64>,
}

/// A server, to make requests to.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    client: Client,
}

impl Endpoint {
    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap_or_default()
    }

    /// Makes a request of the kind that the server asks its upstream for.
    pub(crate) async fn call(&self) -> Result<Answer> {
        let response = self.client.get(&self.url).send().await?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.map(|header| header.to_str()).transpose()?;
        let retry_after = retry_after.map(str::parse).transpose()?;
        Ok(Answer { status: response.status(), retry_after })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.url);
        Ok(self.client.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// The state of the breaker, and since when, by the wall clock.
    pub(crate) async fn state(&self) -> Result<(String, f64)> {
        let breaker: serde_json::Value = serde_json::from_str(&self.get("/breaker").await?)?;
        let state = breaker["state"].as_str().unwrap_or_default().to_owned();
        Ok((state, breaker["since"].as_f64().unwrap_or_default()))
    }

    /// The number of calls that the upstream has got.
    pub(crate) async fn calls(&self) -> Result<u32> {
        Ok(self.get("/calls").await?.parse()?)
    }
}
