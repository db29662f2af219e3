//! Servers that close a connection instead of a reply: the tests ask them again.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use crate::support::redis::{Control, PORT};

#[test]
fn a_command_without_a_reply_is_sent_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = listener.local_addr().unwrap().port();
    fs::write(folder.path().join(PORT), port.to_string()).unwrap();
    let replies = ["", "\r\n", "+O", "$5\r\nhel", "*2\r\n+one\r\n", "*2\r\n+one\r\n$3\r\ntwo\r\n"];
    let server = thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 100]).unwrap() > 0);
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    assert_eq!(Control::of(folder.path()).command(&["PING"]), "one\ntwo");
    server.join().unwrap();
}
