//! What a replica says about a breaker, as it is sent: times are how long ago or how far ahead,
//! because replicas' clocks are not compared.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::replica::BreakerView;
use crate::{
    event::{Reason, known_reason},
    state::State,
};

#[derive(Serialize, Deserialize)]
struct Text {
    state: State,
    /// Seconds ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
    /// Seconds ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<f64>,
    #[serde(default, deserialize_with = "known_reason", skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    streak: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    calls: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    slow: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A view as text, at this time of the replica's wall clock.
pub(super) fn encode(view: &BreakerView, now: SystemTime) -> String {
    let seconds = |from: SystemTime, to: SystemTime| {
        to.duration_since(from).unwrap_or_default().as_secs_f64()
    };
    let text = Text {
        state: view.state,
        since: view.since.map(|since| seconds(since, now)),
        left: view.until.map(|until| seconds(now, until)),
        reason: view.reason,
        own: view.is_own,
        streak: view.consecutive_failures.into(),
        calls: view.window_calls,
        failures: view.window_failures,
        slow: view.window_slow_calls,
    };
    // It cannot fail: there is no map, and no number that is not finite.
    serde_json::to_string(&text).unwrap_or_default()
}

/// Reads a view, with times on the wall clock of the replica that reads it, where it is `now`.
/// `None` if the text is none of this version.
pub(super) fn decode(text: &str, now: SystemTime) -> Option<BreakerView> {
    let text: Text = serde_json::from_str(text).ok()?;
    let span = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    Some(BreakerView {
        state: text.state,
        since: text.since.and_then(span).and_then(|ago| now.checked_sub(ago)),
        until: text.left.and_then(span).and_then(|left| now.checked_add(left)),
        reason: text.reason,
        is_own: text.own,
        consecutive_failures: u32::try_from(text.streak).unwrap_or(u32::MAX),
        window_calls: text.calls,
        window_failures: text.failures,
        window_slow_calls: text.slow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_its_times_although_the_clocks_differ() {
        let here = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let there = here + Duration::from_secs(7 * 3600);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let view = BreakerView {
            state: State::Open,
            since: Some(there - minutes(1)),
            until: Some(there + minutes(2)),
            reason: Some(Reason::FailureRate),
            is_own: true,
            consecutive_failures: 3,
            window_calls: 10,
            window_failures: 4,
            window_slow_calls: 0,
        };
        let read = decode(&encode(&view, there), here).unwrap();
        let moved = BreakerView {
            since: Some(here - minutes(1)),
            until: Some(here + minutes(2)),
            ..view.clone()
        };
        assert_eq!(read, moved);
    }

    #[test]
    fn what_a_newer_version_says_is_read_as_far_as_it_is_known() {
        let now = SystemTime::UNIX_EPOCH;
        let view = decode(r#"{"state":"closed","reason":"moonlight","more":1}"#, now).unwrap();
        assert_eq!((view.state, view.reason, view.since), (State::Closed, None, None));
        assert_eq!(decode(r#"{"state":"ajar"}"#, now), None);
        assert_eq!(decode("", now), None);
    }
}
