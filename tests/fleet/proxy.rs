//! A network between a replica and the server that can be cut, and be slow.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
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
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if is_delayed {
                thread::sleep(Duration::from_micros(self.delay.load(Ordering::SeqCst)));
            }
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
