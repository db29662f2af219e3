//! A network between a replica and the server that can be cut, and be slow, and through which the
//! server's clock seems to be another.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use crate::support::redis::RedisServer;

pub(crate) struct Proxy {
    port: u16,
    link: Arc<Link>,
}

#[derive(Default)]
struct Link {
    is_cut: AtomicBool,
    /// How late the server's answers are, in microseconds.
    delay: AtomicU64,
    /// By how many seconds the server's clock seems to be ahead of what it is.
    ahead: AtomicI64,
    streams: Mutex<Vec<TcpStream>>,
    /// The ports from which the proxy has connected to the server.
    ports: Mutex<Vec<u16>>,
}

impl Proxy {
    /// A proxy to this server. Its threads end with the test's process.
    pub(crate) fn to(server: &RedisServer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Arc::new(Link::default());
        let (accepting, target) = (Arc::clone(&link), server.port());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // An error is the server's: the client sees that the connection ends.
                let _ = accepting.connect(client, target);
            }
        });
        Self { port, link }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn cut(&self) {
        let mut streams = self.link.streams.lock().unwrap();
        self.link.is_cut.store(true, Ordering::SeqCst);
        for stream in streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn heal(&self) {
        self.link.is_cut.store(false, Ordering::SeqCst);
    }

    /// From here on, what the server sends arrives so much later.
    pub(crate) fn delay(&self, delay: Duration) {
        self.link.delay.store(u64::try_from(delay.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// From here on, the server's clock seems to be ahead by this many seconds.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.link.ahead.store(ahead, Ordering::SeqCst);
    }

    /// Whether a connection from this port is one of this proxy.
    pub(crate) fn owns(&self, port: u16) -> bool {
        self.link.ports.lock().unwrap().contains(&port)
    }

    /// The ports of all its connections to the server so far.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.link.ports.lock().unwrap().clone()
    }
}

impl Link {
    fn connect(self: &Arc<Self>, client: TcpStream, target: u16) -> std::io::Result<()> {
        // Held throughout, so that no connection escapes a cut.
        let mut streams = self.streams.lock().unwrap();
        if self.is_cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target))?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        self.ports.lock().unwrap().push(server.local_addr()?.port());
        streams.extend([client.try_clone()?, server.try_clone()?]);
        let (to_server, to_client) = (Arc::clone(self), Arc::clone(self));
        let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || to_server.copy(from_client, server, false));
        thread::spawn(move || to_client.copy(from_server, client, true));
        Ok(())
    }

    /// Until either side ends.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, is_delayed: bool) {
        let mut bytes = [0; 16384];
        let mut length = 0;
        while let Ok(more @ 1..) = from.read(&mut bytes[length..]) {
            length += more;
            let ahead = self.ahead.load(Ordering::SeqCst);
            // A time follows whole, if it does.
            let is_whole = bytes[..length].ends_with(b"\r\n")
                && !TIMES.iter().any(|(head, _)| bytes[..length].ends_with(head));
            if ahead != 0 && !is_whole && length < bytes.len() {
                continue;
            }
            if is_delayed {
                thread::sleep(Duration::from_micros(self.delay.load(Ordering::SeqCst)));
            }
            shift_times(&mut bytes[..length], if is_delayed { ahead } else { -ahead });
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
            length = 0;
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What a time of the server begins with, as seconds and as microseconds, and its unit.
const TIMES: [(&[u8], i64); 2] = [(b"$10\r\n", 1), (b"$16\r\n", 1_000_000)];

/// Adds this many seconds to each time in the bytes. It is one if it is within a day of now.
fn shift_times(bytes: &mut [u8], seconds: i64) {
    if seconds == 0 {
        return;
    }
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    for (head, unit) in TIMES {
        let digits = head[1..3].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        for at in head.len()..(bytes.len() + 1).saturating_sub(digits) {
            if &bytes[at - head.len()..at] != head {
                continue;
            }
            let text = &mut bytes[at..at + digits];
            let time = str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
            if let Some(time) = time.filter(|time| (time / unit - now).abs() < 86_400) {
                text.copy_from_slice((time + seconds * unit).to_string().as_bytes());
            }
        }
    }
}
