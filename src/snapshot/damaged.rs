//! Reads the state from a snapshot that is truncated or has other damage.
//!
//! Each field that counts is looked for by its name. It is taken if it is there once and its value
//! ends as it should: half a number would be another one.

use std::time::{Duration, SystemTime};

use super::Snapshot;
use crate::{seconds, state::State};

/// No open time is longer, whatever the configuration says.
const LONGEST_OPEN: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn read(json: &[u8]) -> Option<Snapshot> {
    let text = |name| std::str::from_utf8(value(json, name)?).ok();
    let time = |name| text(name)?.parse().ok().and_then(seconds::at);
    let count = |name| text(name)?.parse().ok();
    let snapshot = match value(json, "state")? {
        br#""open""# => {
            let (opened, until): (SystemTime, SystemTime) =
                (time("opened_at")?, time("open_until")?);
            if until.duration_since(opened).ok()? > LONGEST_OPEN {
                return None;
            }
            let saved = time("saved_at").unwrap_or(opened);
            Snapshot {
                state: State::Open,
                opened_at: Some(opened),
                open_until: Some(until),
                ..Snapshot::empty(saved)
            }
        }
        br#""half_open""# => {
            let saved = time("saved_at").unwrap_or(SystemTime::UNIX_EPOCH);
            Snapshot { state: State::HalfOpen, ..Snapshot::empty(saved) }
        }
        _ => return None,
    };
    Some(Snapshot {
        failure_count: count("failure_count").unwrap_or(0),
        consecutive_opens: count("consecutive_opens").unwrap_or(1),
        ..snapshot
    })
}

/// The bytes of a field's value, without the space around it. `None` unless there is exactly one
/// such field, and its value is followed by another field or by the end of the object.
fn value<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = format!("\"{name}\"");
    let mut places = (0..json.len()).filter(|at| json[*at..].starts_with(name.as_bytes()));
    let at = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let rest = json[at + name.len()..].trim_ascii_start().strip_prefix(b":")?;
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    Some(rest[..end].trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN: &str = r#"{"version":1,"readable_from":1,"state":"open","failure_count":5,"opened_at":1700000000.25,"open_until":1700000060.25,"half_open_attempts":0,"half_open_successes":0,"half_open_failures":0,"consecutive_opens":2,"closed_at":null,"ramp_credit":0.0,"windows":[{"rule":"failure_rate","calls":3,"failures":1,"slow_calls":0,"results":"..f"}],"manual_until":null,"saved_at":1700000001.0,"expires_at":1700086401.0}"#;

    fn at(seconds: f64) -> Option<SystemTime> {
        seconds::at(seconds)
    }

    #[test]
    fn a_truncated_snapshot_keeps_the_state_whose_times_are_whole() {
        let needed = OPEN.find(",\"half_open_attempts").unwrap();
        for length in 0..OPEN.len() {
            let read = read(&OPEN.as_bytes()[..length]);
            assert_eq!(read.is_some(), length > needed, "{length} of {}", OPEN.len());
            if let Some(read) = read {
                assert_eq!(read.state, State::Open);
                assert_eq!(read.open_until, at(1_700_000_060.25));
                assert_eq!(read.failure_count, 5);
            }
        }
        let half_open = OPEN.replace("open\",\"fail", "half_open\",\"fail");
        let read = read(&half_open.as_bytes()[..70]).unwrap();
        assert_eq!((read.state, read.open_until), (State::HalfOpen, None));
    }

    #[test]
    fn times_that_make_no_sense_are_not_taken() {
        for (from, to) in [
            ("1700000000.25", "1700000061.25"),
            ("1700000060.25", "1800000060.25"),
            ("1700000060.25", "-5"),
            ("1700000060.25", "1e400"),
            ("1700000060.25", "null"),
            ("1700000060.25", "17x0000060.25"),
            ("\"open_until\"", "\"open_Until\""),
            ("\"closed_at\"", "\"open_until\""),
        ] {
            let damaged = OPEN.replace(from, to);
            assert_ne!(damaged, OPEN);
            assert_eq!(read(damaged.as_bytes()), None, "{from} -> {to}");
        }
    }

    #[test]
    fn states_set_by_hand_and_closed_ones_are_not_taken() {
        for state in ["forced_open", "disabled", "metrics_only", "closed", "opeN", ""] {
            let damaged = OPEN.replace("\"open\"", &format!("\"{state}\""));
            assert_eq!(read(&damaged.as_bytes()[..damaged.len() - 1]), None, "{state}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            prop_assert_eq!(read(&bytes), None);
        }

        #[test]
        fn a_state_that_is_read_is_open_for_no_longer_than_it_was(
            flips in proptest::collection::vec((0..OPEN.len(), 0..8_u32), 0..6),
            length in 0..=OPEN.len(),
        ) {
            let mut bytes = OPEN.as_bytes().to_vec();
            for (place, bit) in flips {
                bytes[place] ^= 1 << bit;
            }
            bytes.truncate(length);
            if let Some(read) = read(&bytes) {
                prop_assert_eq!(read.state, State::Open);
                let (opened, until) = (read.opened_at.unwrap(), read.open_until.unwrap());
                prop_assert!(until.duration_since(opened).unwrap() <= LONGEST_OPEN);
            }
        }
    }
}
