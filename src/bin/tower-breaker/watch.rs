//! Prints transitions as they happen.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    thread,
    time::Duration,
};

use serde_json::Value;

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
    let mut left = count.unwrap_or(u64::MAX);
    let mut stream = client.events()?;
    let mut is_lost = false;
    while left > 0 {
        let has_ended_well = follow(stream, &mut left, as_json).is_some();
        if left == 0 {
            break;
        }
        stream = loop {
            match client.events() {
                Ok(stream) if is_lost || !has_ended_well => {
                    eprintln!("connected again; what happened meanwhile is in the histories");
                    is_lost = false;
                    break stream;
                }
                Ok(stream) => break stream,
                Err(fault) if !is_lost => {
                    eprintln!("connection lost, trying again: {fault}");
                    is_lost = true;
                }
                Err(_) => {}
            }
            thread::sleep(RETRY);
        };
    }
    Ok(String::new())
}

/// Prints the events of one stream. `None` if it did not end as announced, or the output is closed.
fn follow(stream: impl Read, left: &mut u64, as_json: bool) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut kind = String::new();
    loop {
        let mut line = String::new();
        if (&mut stream).take(MAX_LINE).read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            match &*kind {
                "bye" => return Some(()),
                "resync" => eprintln!("some transitions were missed; they are in the histories"),
                "transition" => {
                    let data: Value = serde_json::from_str(data).ok()?;
                    let event = &data["event"];
                    let text = if as_json { event.to_string() } else { describe(event) };
                    if writeln!(io::stdout(), "{text}").is_err() {
                        // The reader has seen enough.
                        *left = 0;
                        return None;
                    }
                    *left -= 1;
                    if *left == 0 {
                        return None;
                    }
                }
                _ => {}
            }
        }
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
