//! Reads the exact text that this version writes for a snapshot without windows and notes, as most
//! are. A start with many breakers has many to read, and a parser that expects any JSON takes five
//! times as many instructions.
//!
//! `None` is no error: the parser reads it then.

use serde::{
    Deserialize,
    de::{
        IntoDeserializer as _,
        value::{Error, StrDeserializer},
    },
};

use super::short::{Moment, ShortSnapshot};
use crate::{event::Reason, state::State};

/// The decimals of a time: it is kept to the microsecond.
const DECIMALS: usize = 6;

pub(super) fn read(json: &[u8]) -> Option<ShortSnapshot> {
    let mut text = Text(json);
    text.skip(br#"{"version":1,"readable_from":1,"state":""#)?;
    let state = text.state()?;
    let failure_count = text.after(br#","failure_count":"#)?.count()?;
    let opened_at = text.after(br#","opened_at":"#)?.optional_time()?;
    let open_until = text.after(br#","open_until":"#)?.optional_time()?;
    let half_open_attempts = text.after(br#","half_open_attempts":"#)?.count()?;
    let half_open_successes = text.after(br#","half_open_successes":"#)?.count()?;
    let half_open_failures = text.after(br#","half_open_failures":"#)?.count()?;
    let consecutive_opens = text.after(br#","consecutive_opens":"#)?.count()?;
    let closed_at = text.after(br#","closed_at":"#)?.optional_time()?;
    text.skip(br#","ramp_credit":0.0,"windows":[]"#)?;
    let manual_until = text.after(br#","manual_until":"#)?.optional_time()?;
    let since = match text.skip(br#","since":"#) {
        Some(()) => text.time()?,
        None => Moment::NONE,
    };
    let reason = match text.skip(br#","reason":""#) {
        Some(()) => Some(text.reason()?),
        None => None,
    };
    let saved_at = text.after(br#","saved_at":"#)?.time()?;
    let expires_at = text.after(br#","expires_at":"#)?.optional_time()?;
    text.skip(b"}")?;
    text.0.is_empty().then_some(ShortSnapshot {
        state,
        reason,
        failure_count,
        half_open_attempts,
        half_open_successes,
        half_open_failures,
        consecutive_opens,
        opened_at,
        open_until,
        closed_at,
        manual_until,
        since,
        saved_at,
        expires_at,
    })
}

/// What is left to read.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Skips exactly this.
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn after(&mut self, expected: &[u8]) -> Option<&mut Self> {
        self.skip(expected)?;
        Some(self)
    }

    /// The rest of a string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        const LONGEST: usize = 32;
        let end = self.0.iter().take(LONGEST).position(|byte| *byte == b'"')?;
        let (string, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        let is_name = string.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
        is_name.then(|| std::str::from_utf8(string).ok())?
    }

    fn state(&mut self) -> Option<State> {
        let name: StrDeserializer<'_, Error> = self.string()?.into_deserializer();
        State::deserialize(name).ok()
    }

    fn reason(&mut self) -> Option<Reason> {
        let name: StrDeserializer<'_, Error> = self.string()?.into_deserializer();
        Reason::deserialize(name).ok()
    }

    /// Digits as JSON has them, at most 15: the number, and how many there were.
    fn digits(&mut self) -> Option<(u64, usize)> {
        const MOST: usize = 15;
        let (mut number, mut length) = (0, 0);
        while let Some(byte @ b'0'..=b'9') = self.0.get(length) {
            if length == MOST {
                return None;
            }
            number = number * 10 + u64::from(byte - b'0');
            length += 1;
        }
        self.0 = &self.0[length..];
        (length > 0).then_some((number, length))
    }

    fn whole(&mut self) -> Option<u64> {
        let begins_with_zero = self.0.first() == Some(&b'0');
        let (number, length) = self.digits()?;
        (length == 1 || !begins_with_zero).then_some(number)
    }

    fn count(&mut self) -> Option<u32> {
        self.whole()?.try_into().ok()
    }

    /// A time that a float holds to the microsecond.
    fn time(&mut self) -> Option<Moment> {
        const LAST: u64 = 1 << 32;
        let seconds = self.whole().filter(|seconds| *seconds < LAST)?;
        self.skip(b".")?;
        let (fraction, decimals) = self.digits().filter(|(_, decimals)| *decimals <= DECIMALS)?;
        let micros = fraction * 10_u64.pow(u32::try_from(DECIMALS - decimals).ok()?);
        Some(Moment::from_micros(seconds * 1_000_000 + micros))
    }

    fn optional_time(&mut self) -> Option<Moment> {
        match self.skip(b"null") {
            Some(()) => Some(Moment::NONE),
            None => self.time(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::snapshot::Snapshot;

    fn read(json: &[u8]) -> Option<Snapshot> {
        super::read(json).map(ShortSnapshot::to_snapshot)
    }

    /// Any snapshot without windows and notes.
    fn any(random: &mut fastrand::Rng) -> Snapshot {
        const STATES: [State; 6] = [
            State::Closed,
            State::Open,
            State::HalfOpen,
            State::ForcedOpen,
            State::Disabled,
            State::MetricsOnly,
        ];
        const REASONS: [Reason; 4] =
            [Reason::ConsecutiveFailures, Reason::Manual, Reason::Reset, Reason::ProbeFailed];
        let time = |random: &mut fastrand::Rng| {
            let round = [1, 1000, 1_000_000][random.usize(..3)];
            let micros = random.u64(..(1 << 32) * 1_000_000) / round * round;
            SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
        };
        let maybe = |random: &mut fastrand::Rng| random.bool().then(|| time(random));
        Snapshot {
            state: STATES[random.usize(..6)],
            failure_count: random.u32(..) >> random.u32(..32),
            opened_at: maybe(random),
            open_until: maybe(random),
            half_open_attempts: random.u32(..9),
            half_open_successes: random.u32(..9),
            half_open_failures: random.u32(..9),
            consecutive_opens: random.u32(..),
            closed_at: maybe(random),
            manual_until: maybe(random),
            since: maybe(random),
            reason: random.bool().then(|| REASONS[random.usize(..4)]),
            expires_at: maybe(random),
            ..Snapshot::empty(time(random))
        }
    }

    #[test]
    fn what_is_written_is_read_like_the_parser_reads_it() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let json = any(&mut random).to_json().unwrap();
            let parsed: Snapshot = serde_json::from_str(&json).unwrap();
            assert_eq!(read(json.as_bytes()), Some(parsed), "{json}");
        }
    }

    #[test]
    fn what_is_changed_is_read_like_the_parser_reads_it_or_not_at_all() {
        let mut random = fastrand::Rng::with_seed(8);
        let mut read_anyway = 0;
        for _ in 0..100_000 {
            let mut json = any(&mut random).to_json().unwrap().into_bytes();
            for _ in 0..=random.usize(..2) {
                let place = random.usize(..json.len());
                let other = *random.choice(b"0123456789.-+eE\"n_a {},:[]").unwrap();
                match random.u8(..3) {
                    0 => json[place] = other,
                    1 => json.insert(place, other),
                    _ => drop(json.remove(place)),
                }
            }
            if let Some(found) = read(&json) {
                read_anyway += 1;
                let parsed: Snapshot = serde_json::from_slice(&json).unwrap();
                assert_eq!(found, parsed, "{}", String::from_utf8_lossy(&json));
            }
        }
        assert!(read_anyway > 1000);
    }
}
