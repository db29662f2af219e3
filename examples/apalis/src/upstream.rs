//! The service behind the jobs, on a socket, with an outage.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A client of the service, which also controls it.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    service: Arc<Service>,
}

#[derive(Debug, Default)]
struct Service {
    is_down: AtomicBool,
    accepted: AtomicU32,
    failed: AtomicU32,
    failed_checks: AtomicU32,
}

/// The message of a health check. Any other one is an invoice.
const CHECK: u32 = u32::MAX;

impl Upstream {
    /// Starts a service that answers each message with one byte. While it is down, it closes each
    /// connection without an answer.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, service) = (listener.local_addr()?, Arc::<Service>::default());
        let this = Self { address, service: Arc::clone(&service) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // If the client hangs up, its call fails, and the service goes on.
                let _ = service.serve(stream).await;
            }
        });
        Ok(this)
    }

    pub(crate) async fn send(&self, invoice: u32) -> io::Result<()> {
        self.ask(invoice).await
    }

    pub(crate) async fn check(self) -> io::Result<()> {
        self.ask(CHECK).await
    }

    async fn ask(&self, message: u32) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_u32(message).await?;
        match stream.read_u8().await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(ErrorKind::ConnectionReset, "the service hung up")),
        }
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.service.is_down.store(is_down, SeqCst);
    }

    /// The invoices that it has accepted.
    pub(crate) fn accepted(&self) -> u32 {
        self.service.accepted.load(SeqCst)
    }

    /// The invoices that came while it was down.
    pub(crate) fn failed(&self) -> u32 {
        self.service.failed.load(SeqCst)
    }

    pub(crate) fn failed_checks(&self) -> u32 {
        self.service.failed_checks.load(SeqCst)
    }
}

impl Service {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let message = stream.read_u32().await?;
        if self.is_down.load(SeqCst) {
            let failed = if message == CHECK { &self.failed_checks } else { &self.failed };
            failed.fetch_add(1, SeqCst);
            return Ok(());
        }
        if message != CHECK {
            self.accepted.fetch_add(1, SeqCst);
        }
        stream.write_u8(1).await
    }
}
