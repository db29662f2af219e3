//! Prints transitions as they happen.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    thread,
    time::Duration,
};

use serde_json::Value;
use ureq::BodyReader;

use super::{
    client::Client,
    fault::Fault,
    remote::{at, word},
};

/// How long to wait before the next attempt to connect.
const RETRY: Duration = Duration::from_secs(2);

/// The longest line of a stream that is read.
const MAX_LINE: u64 = 1024 * 1024;

/// Prints at most `count` transitions. A service that never answered is an error.
pub(super) fn run(client: &Client, count: Option<u64>, as_json: bool) -> Result<String, Fault> {
    let mut watch = Watch { left: count.unwrap_or(u64::MAX), as_json, is_first: true };
    let mut stream = client.events(None)?;
    while watch.left > 0 {
        let end = watch.follow(stream);
        if end == End::Enough {
            break;
        }
        let after = if let End::Announced { after: Some(after) } = &end {
            Some(after.as_str())
        } else {
            // What answers may end each stream at once.
            thread::sleep(RETRY);
            None
        };
        stream = reconnect(client, after);
    }
    Ok(String::new())
}

fn reconnect(client: &Client, after: Option<&str>) -> BodyReader<'static> {
    let mut is_lost = false;
    loop {
        match client.events(after) {
            Ok(stream) => return stream,
            Err(fault) if !is_lost => {
                eprintln!("connection lost, trying again: {fault}");
                is_lost = true;
            }
            Err(_) => {}
        }
        thread::sleep(RETRY);
    }
}

struct Watch {
    /// How many transitions are still to be printed.
    left: u64,
    as_json: bool,
    /// Whether there was no stream before.
    is_first: bool,
}

/// How a stream has ended.
#[derive(Debug, PartialEq)]
enum End {
    /// As announced. The next stream goes on `after` this one.
    Announced {
        after: Option<String>,
    },
    Lost,
    /// No more transitions are wanted.
    Enough,
}

impl Watch {
    /// Prints the transitions of one stream.
    fn follow(&mut self, stream: impl Read) -> End {
        let mut stream = BufReader::new(stream);
        let mut kind = String::new();
        loop {
            let mut line = String::new();
            if !matches!((&mut stream).take(MAX_LINE).read_line(&mut line), Ok(1..)) {
                return End::Lost;
            }
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let Ok(data) = serde_json::from_str(data) else { return End::Lost };
                if let Some(end) = self.take(&kind, &data) {
                    return end;
                }
            }
        }
    }

    /// Takes an event. Returns how the stream ends with it.
    fn take(&mut self, kind: &str, data: &Value) -> Option<End> {
        match kind {
            "hello" => {
                let is_gap = !std::mem::take(&mut self.is_first) && data["resumed"] != true;
                if is_gap {
                    eprintln!("connected again; what happened meanwhile is in the histories");
                }
            }
            "bye" => {
                let after = data["after"].as_str().map(str::to_owned);
                return Some(End::Announced { after });
            }
            "resync" => eprintln!("some transitions were missed; they are in the histories"),
            "transition" => {
                let event = &data["event"];
                let text = if self.as_json { event.to_string() } else { describe(event) };
                // If the output is closed, its reader has seen enough.
                let is_written = writeln!(io::stdout(), "{text}").is_ok();
                self.left = if is_written { self.left - 1 } else { 0 };
                return (self.left == 0).then_some(End::Enough);
            }
            _ => {}
        }
        None
    }
}

fn describe(event: &Value) -> String {
    let [name, from, to, reason] =
        ["name", "from", "to", "reason"].map(|field| word(&event[field]));
    let said = ["by", "note"].into_iter().filter(|field| event[*field].is_string());
    let said: String = said
        .flat_map(|field| ["  ", field, ": ", &word(&event[field])].map(str::to_owned))
        .collect();
    format!("{}  {name}  {from} -> {to}  {reason}{said}", at(&event["at"]))
}
