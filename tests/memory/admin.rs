//! The memory of event streams that are not read.

use std::time::Duration;

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tower_breaker::{ManualChange, Registry, admin::Admin};

use super::alone;

const LISTENERS: usize = 1000;

/// Serves a connection, and returns the client's end of it. The kernel's buffers would not count.
fn connect(admin: &Admin) -> DuplexStream {
    let (client, server) = duplex(4096);
    let service = TowerToHyperService::new(admin.clone());
    tokio::spawn(async move {
        let server = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        let _ = server.await;
    });
    client
}

/// Asks for the events, and reads the status and nothing more.
async fn listen(admin: &Admin) -> (DuplexStream, String) {
    let mut client = connect(admin);
    client.write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    (client, String::from_utf8_lossy(&status).into_owned())
}

#[test]
fn a_thousand_listeners_that_do_not_read_take_bounded_memory() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let registry = Registry::builder().build().unwrap();
    let breaker = registry.get_or_create("payments").unwrap();
    let admin = Admin::new(&registry).max_listeners(LISTENERS);
    let made = allocation_counter::measure(|| {
        runtime.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..LISTENERS {
                clients.push(listen(&admin).await);
            }
            assert!(clients.iter().all(|(_, status)| status == "HTTP/1.1 200"));
            assert_eq!(listen(&admin).await.1, "HTTP/1.1 503");
            for number in 0..3000 {
                let note = format!("{number}{}", "x".repeat(900));
                breaker.force_open_with(ManualChange::new().note(note));
                // Every connection takes what it can.
                if number % 100 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            // Those that read get the newest.
            let (mut reader, status) = listen(&Admin::new(&registry)).await;
            assert_eq!(status, "HTTP/1.1 200");
            breaker.reset();
            let mut text = String::new();
            while !text.contains("\"state\":\"closed\"") {
                let mut part = [0; 1024];
                let read = reader.read(&mut part).await.unwrap();
                assert!(read > 0, "{text}");
                text += &String::from_utf8_lossy(&part[..read]);
            }
        });
    });
    // 3,000 events of 2 kB for each would be 6 GB.
    let each = made.bytes_max / LISTENERS as u64;
    println!("{each} bytes for each listener at most");
    assert!(each <= 128 * 1024, "{each} bytes");
}
