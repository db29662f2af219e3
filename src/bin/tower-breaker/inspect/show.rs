//! The list of breakers, as a table and as JSON.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tower_breaker::{State, snapshot::Snapshot};

use super::{
    super::{
        fault::Fault,
        table::{aligned, text},
    },
    content::Content,
    history::HistoryLine,
};

/// A breaker, as a server that starts now restores it.
struct Shown {
    name: String,
    /// The state, or why it cannot be read.
    state: String,
    snapshot: Option<Snapshot>,
    /// When it entered that state.
    since: Option<SystemTime>,
    /// What is left of the open time, or of the time for which the state was set by hand.
    left: Option<Duration>,
    /// The number of unreadable snapshots in quarantine.
    quarantined: usize,
}

/// Lists all breakers in the store.
pub(super) fn all(content: &Content, as_json: bool) -> Result<String, Fault> {
    let mut breakers = breakers(&content.entries, SystemTime::now());
    for shown in &mut breakers {
        shown.find_since(content)?;
    }
    Ok(if as_json { json(content, &breakers) } else { table(&breakers) })
}

/// Returns the breakers in the entries of a store, by name.
fn breakers(entries: &[(String, Vec<u8>)], now: SystemTime) -> Vec<Shown> {
    let mut breakers = BTreeMap::new();
    for (key, value) in entries {
        let Some((name, kind)) =
            key.strip_prefix("circuit_breaker:").and_then(|rest| rest.rsplit_once(':'))
        else {
            continue;
        };
        let shown = breakers.entry(name).or_insert_with(|| Shown {
            name: name.to_owned(),
            state: "none stored".to_owned(),
            snapshot: None,
            since: None,
            left: None,
            quarantined: 0,
        });
        match kind {
            "state" => shown.read(value, now),
            "quarantine" => {
                let kept = serde_json::from_slice::<Vec<Value>>(value);
                shown.quarantined = kept.map_or(1, |kept| kept.len());
            }
            _ => {}
        }
    }
    breakers.into_values().collect()
}

impl Shown {
    fn read(&mut self, value: &[u8], now: SystemTime) {
        match Snapshot::from_json(value) {
            Ok(snapshot) => {
                self.left = left(&snapshot, now);
                let until = until(&snapshot);
                let (state, since) = match snapshot.state {
                    State::Open if self.left.is_none() => (State::HalfOpen, until),
                    state if state.is_manual() && until.is_some() && self.left.is_none() => {
                        (State::Closed, until)
                    }
                    state => (state, snapshot.opened_at.or(snapshot.closed_at)),
                };
                self.state = state.to_string();
                self.since = since;
                self.snapshot = Some(snapshot);
            }
            Err(error) => self.state = error.to_string(),
        }
    }

    /// For states without a time in the snapshot, the newest entry of the history has it.
    fn find_since(&mut self, content: &Content) -> Result<(), Fault> {
        if self.since.is_none() && self.snapshot.is_some() {
            let newest = content.history(&self.name, 1)?;
            let newest =
                newest.first().map(HistoryLine::of).filter(|entry| entry.to() == self.state);
            self.since = newest.and_then(|entry| entry.at());
        }
        Ok(())
    }

    fn time(&self, which: impl FnOnce(&Snapshot) -> Option<SystemTime>) -> Option<String> {
        text(which(self.snapshot.as_ref()?)?)
    }

    /// What was said about the change by hand that began the state, if it lasts.
    fn said(&self, which: impl FnOnce(&Snapshot) -> Option<&str>) -> Option<String> {
        let snapshot = self.snapshot.as_ref().filter(|it| it.state.as_str() == self.state)?;
        which(snapshot).map(|text| text.escape_debug().to_string())
    }
}

/// When the stored state ends by itself.
fn until(snapshot: &Snapshot) -> Option<SystemTime> {
    match snapshot.state {
        State::Open => snapshot.open_until,
        state if state.is_manual() => snapshot.manual_until,
        _ => None,
    }
}

/// What is left of that time: at most what was left when the snapshot was saved, whatever the clock
/// did since.
fn left(snapshot: &Snapshot, now: SystemTime) -> Option<Duration> {
    let until = until(snapshot)?;
    let by = |moment| until.duration_since(moment).ok();
    let left = by(now)?.min(by(snapshot.saved_at)?);
    (!left.is_zero()).then_some(left)
}

fn table(breakers: &[Shown]) -> String {
    if breakers.is_empty() {
        return "no breaker is stored here\n".to_owned();
    }
    let head = ["NAME", "STATE", "SINCE", "UNTIL", "LEFT", "FAILURES", "SAVED AT", "BY", "NOTE"];
    let mut rows = vec![head.map(str::to_owned)];
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for shown in breakers {
        let snapshot = shown.snapshot.as_ref();
        rows.push([
            // A name may contain control characters.
            shown.name.escape_debug().to_string(),
            shown.state.escape_debug().to_string(),
            dash(shown.since.and_then(text)),
            dash(shown.time(until)),
            dash(shown.left.map(|left| format!("{:.1} s", left.as_secs_f64()))),
            dash(snapshot.map(|snapshot| snapshot.failure_count.to_string())),
            dash(shown.time(|snapshot| Some(snapshot.saved_at))),
            dash(shown.said(|snapshot| snapshot.by.as_deref())),
            dash(shown.said(|snapshot| snapshot.note.as_deref())),
        ]);
    }
    let mut text = aligned(&rows);
    for shown in breakers.iter().filter(|shown| shown.quarantined > 0) {
        let name = shown.name.escape_debug();
        let _ = writeln!(
            text,
            "{name}: {} unreadable, kept under circuit_breaker:{name}:quarantine",
            shown.quarantined
        );
    }
    text
}

fn json(content: &Content, breakers: &[Shown]) -> String {
    let breakers: Vec<Value> = breakers
        .iter()
        .map(|shown| {
            json!({
                "name": shown.name,
                "state": shown.state,
                "since": shown.since.and_then(text),
                "until": shown.time(until),
                "left_seconds": shown.left.map(|left| left.as_secs_f64()),
                "failures": shown.snapshot.as_ref().map(|snapshot| snapshot.failure_count),
                "saved_at": shown.time(|snapshot| Some(snapshot.saved_at)),
                "quarantined": shown.quarantined,
                "snapshot": shown.snapshot,
            })
        })
        .collect();
    let mut all = content.json();
    all.insert("breakers".to_owned(), breakers.into());
    format!("{:#}\n", Value::Object(all))
}
