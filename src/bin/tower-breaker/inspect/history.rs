//! The history of a breaker.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tower_breaker::store::HistoryRecord;

use super::{
    super::{
        fault::Fault,
        table::{aligned, text, time},
    },
    content::Content,
};

/// A transition, as far as it can be read.
pub(super) struct HistoryLine {
    id: u64,
    record: Option<Value>,
}

impl HistoryLine {
    pub(super) fn of(record: &HistoryRecord) -> Self {
        let value = serde_json::from_slice(&record.bytes).ok();
        Self { id: record.id, record: value.filter(Value::is_object) }
    }

    fn word(&self, field: &str) -> &str {
        self.record.as_ref().and_then(|record| record[field].as_str()).unwrap_or("-")
    }

    fn number(&self, field: &str) -> Option<f64> {
        self.record.as_ref()?[field].as_f64()
    }

    /// The state after it.
    pub(super) fn to(&self) -> &str {
        self.word("to")
    }

    pub(super) fn at(&self) -> Option<SystemTime> {
        let by_id = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.id));
        self.number("at").and_then(time).or(by_id)
    }

    fn row(&self) -> [String; 9] {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        // Any text may contain control characters.
        let word = |field| self.word(field).escape_debug().to_string();
        [
            dash(self.at().and_then(text)),
            word("from"),
            word("to"),
            word("reason"),
            dash(self.number("failure_count").map(|count| count.to_string())),
            dash(self.number("open_time").map(|open| format!("{open:.1} s"))),
            dash(self.number("manual_until").and_then(time).and_then(text)),
            word("by"),
            word("note"),
        ]
    }

    /// The id is a string, because not every JSON reader can hold such a number.
    fn json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "at": self.at().and_then(text),
            "from": self.word("from"),
            "to": self.to(),
            "reason": self.word("reason"),
            "record": self.record,
        })
    }
}

pub(super) fn show(content: &Content, name: &str, as_json: bool) -> Result<String, Fault> {
    let records = content.history(name, usize::MAX)?;
    let key = format!("circuit_breaker:{name}:state");
    if records.is_empty() && content.entries.iter().all(|(stored, _)| *stored != key) {
        return Err(Fault::NotFound(format!(
            "no breaker of the name {name:?} in {}",
            content.place
        )));
    }
    let entries: Vec<HistoryLine> = records.iter().map(HistoryLine::of).collect();
    if as_json {
        let mut all = content.json();
        all.insert("name".to_owned(), name.into());
        let entries: Vec<_> = entries.iter().map(HistoryLine::json).collect();
        all.insert("history".to_owned(), entries.into());
        return Ok(format!("{:#}\n", Value::Object(all)));
    }
    if entries.is_empty() {
        return Ok(format!("no history of {name:?}\n"));
    }
    let head = ["AT", "FROM", "TO", "REASON", "FAILURES", "OPEN FOR", "UNTIL", "BY", "NOTE"];
    let head = head.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(entries.iter().map(HistoryLine::row)).collect();
    Ok(aligned(&rows))
}
