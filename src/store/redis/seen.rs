//! The states that bar calls, or were set by hand, and that this process has seen in Redis: what it
//! has read by its key or saved itself. What it saves next may replace these, but not those that
//! another process has saved since.

use std::{collections::HashMap, sync::Mutex};

use crate::sync::std_lock as lock;

/// A snapshot ends with the time at which it was saved, in microseconds, and when it expires. No
/// two of one breaker end alike.
const END: usize = 64;

/// More than this are forgotten. Then counts are not saved until such a state is over.
const MOST: usize = 200_000;

#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<String, Box<[u8]>>>);

impl Seen {
    /// This is what Redis holds under the key.
    pub(super) fn note(&self, key: &str, value: &[u8]) {
        let mut seen = lock(&self.0);
        if may_bar(value) {
            if seen.len() >= MOST {
                seen.clear();
            }
            seen.insert(key.to_owned(), end(value).into());
        } else if !seen.is_empty() {
            seen.remove(key);
        }
    }

    pub(super) fn forget(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    /// The end of what was seen last, if it may bar calls.
    pub(super) fn end_of(&self, key: &str) -> Box<[u8]> {
        lock(&self.0).get(key).cloned().unwrap_or_default()
    }
}

/// What tells a value from others of its breaker.
pub(super) fn end(value: &[u8]) -> &[u8] {
    &value[value.len().saturating_sub(END)..]
}

/// Whether this is a snapshot that is neither closed nor half-open. The state is among its first
/// fields.
fn may_bar(value: &[u8]) -> bool {
    const STATE: &[u8] = b"\"state\":\"";
    let start = &value[..value.len().min(200)];
    let state = start.windows(STATE.len()).position(|bytes| bytes == STATE);
    state.is_some_and(|at| {
        let state = &start[at + STATE.len()..];
        !state.starts_with(b"closed") && !state.starts_with(b"half_open")
    })
}

#[cfg(test)]
mod tests {
    use super::{END, Seen};

    #[test]
    fn only_states_that_bar_calls_are_kept() {
        let seen = Seen::default();
        let open = br#"{"version":1,"state":"open","saved_at":1.5}"#;
        seen.note("a", open);
        assert_eq!(&*seen.end_of("a"), open);
        seen.note("a", br#"{"version":1,"state":"half_open"}"#);
        assert_eq!(&*seen.end_of("a"), b"");
        for value in [&b""[..], b"text", br#"{"state":"closed"}"#] {
            seen.note("a", value);
            assert_eq!(&*seen.end_of("a"), b"");
        }
        let long = format!(r#"{{"state":"forced_open"{}"saved_at":1}}"#, " ".repeat(500));
        seen.note("a", long.as_bytes());
        assert_eq!(&*seen.end_of("a"), &long.as_bytes()[long.len() - END..]);
        seen.forget("a");
        assert_eq!(&*seen.end_of("a"), b"");
    }
}
