//! Commands that ask an admin service.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    arguments::{Change, Selection, TimedChange},
    client::Client,
    fault::Fault,
    table::{aligned, text, time},
};

/// How many breakers are asked for at once.
const PAGE: usize = 5000;

pub(super) fn list(client: &Client, selection: &Selection, as_json: bool) -> Result<String, Fault> {
    let all = read_all(client, selection)?;
    if as_json {
        return Ok(format!("{all:#}\n"));
    }
    let breakers = all["breakers"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(if breakers.is_empty() { "no breakers\n".to_owned() } else { table(breakers) })
}

/// All pages as one.
fn read_all(client: &Client, Selection { group, search }: &Selection) -> Result<Value, Fault> {
    let group = group.as_ref().map(|group| format!("&group={}", Client::id(group)));
    let search = search.as_ref().map(|search| format!("&search={}", escape(search)));
    let [group, search] = [group, search].map(Option::unwrap_or_default);
    let path = format!("breakers?limit={PAGE}{group}{search}");
    let mut all = client.get(&path)?;
    while let Some(next) = all["next"].as_str() {
        let mut page = client.get(&format!("{path}&after={next}"))?;
        all["next"] = page["next"].take();
        let (Value::Array(breakers), Value::Array(more)) =
            (&mut all["breakers"], page["breakers"].take())
        else {
            break;
        };
        if more.is_empty() {
            break;
        }
        breakers.extend(more);
    }
    Ok(all)
}

/// Escapes a value of a query.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(escaped, "%{byte:02X}");
        escaped
    })
}

fn table(breakers: &[Value]) -> String {
    let head = ["NAME", "STATE", "SINCE", "UNTIL", "FAILURES", "WHY", "BY", "NOTE"];
    let rows = breakers.iter().map(|breaker| {
        let word = |field: &str| word(&breaker[field]);
        [
            word("name"),
            word("state"),
            at(&breaker["since"]),
            at(&breaker["until"]),
            failures(breaker),
            word("reason"),
            word("by"),
            word("note"),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    aligned(&rows)
}

/// Of the calls in the window, or in a row.
fn failures(breaker: &Value) -> String {
    match (&breaker["window"]["failures"], &breaker["window"]["calls"]) {
        (Value::Number(failures), Value::Number(calls)) => format!("{failures}/{calls}"),
        _ => breaker["consecutive_failures"].to_string(),
    }
}

pub(super) fn history(
    client: &Client,
    name: &str,
    limit: u16,
    as_json: bool,
) -> Result<String, Fault> {
    let page = client.get(&format!("{}/history?limit={limit}", Client::breaker(name)))?;
    if as_json {
        return Ok(format!("{page:#}\n"));
    }
    let entries = page["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return Ok(format!("no history of {name:?}\n"));
    }
    let head = ["AT", "FROM", "TO", "WHY", "FAILURES", "OPEN FOR", "BY", "NOTE"];
    let rows = entries.iter().map(|entry| {
        let word = |field: &str| word(&entry[field]);
        let open = entry["open_time"].as_f64();
        [
            at(&entry["at"]),
            word("from"),
            word("to"),
            word("reason"),
            entry["failure_count"].as_u64().map_or_else(dash, |count| count.to_string()),
            open.map_or_else(dash, |open| format!("{open:.1} s")),
            word("by"),
            word("note"),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    Ok(aligned(&rows))
}

pub(super) fn change(
    client: &Client,
    action: &str,
    TimedChange { change, time }: &TimedChange,
    as_json: bool,
) -> Result<String, Fault> {
    post(client, action, change, time.as_deref(), as_json)
}

/// A change that has no time.
pub(super) fn note(
    client: &Client,
    action: &str,
    change: &Change,
    as_json: bool,
) -> Result<String, Fault> {
    post(client, action, change, None, as_json)
}

fn post(
    client: &Client,
    action: &str,
    Change { name, note, by }: &Change,
    time: Option<&str>,
    as_json: bool,
) -> Result<String, Fault> {
    let said = [("note", note.as_deref()), ("by", by.as_deref()), ("for", time)];
    let said = said.into_iter().filter_map(|(field, text)| Some((field.to_owned(), json!(text?))));
    let body = Value::Object(said.collect::<Map<_, _>>());
    let answer = client.post(&format!("{}/{action}", Client::breaker(name)), &body)?;
    Ok(if as_json {
        format!("{answer:#}\n")
    } else {
        table(std::slice::from_ref(&answer["breaker"]))
    })
}

/// Any text of a service, without control characters.
pub(super) fn word(value: &Value) -> String {
    value.as_str().map_or_else(dash, |text| text.escape_debug().to_string())
}

pub(super) fn at(value: &Value) -> String {
    value.as_f64().and_then(time).and_then(text).unwrap_or_else(dash)
}

fn dash() -> String {
    "-".to_owned()
}
