//! Which of two stored values counts.

use std::time::SystemTime;

use crate::{snapshot::Snapshot, state::State};

/// The one to begin with: of two snapshots, one of a circuit that is still open, or else the newer.
/// Of a circuit that is still open and a state set by hand that still lasts, the newer. A value
/// that is no snapshot counts only where there is no other.
pub(super) fn winner(
    near: Option<Vec<u8>>,
    far: Option<Vec<u8>>,
    now: SystemTime,
) -> Option<Vec<u8>> {
    match (near, far) {
        (Some(near), Some(far)) => Some(if far_wins(&near, &far, now) { far } else { near }),
        (near, far) => near.or(far),
    }
}

fn far_wins(near: &[u8], far: &[u8], now: SystemTime) -> bool {
    if near == far {
        return false;
    }
    let Ok(far) = Snapshot::from_json(far) else { return false };
    let Ok(near) = Snapshot::from_json(near) else { return true };
    // A clock that was set back does not make an open circuit last that is long over.
    let now = now.max(near.saved_at).max(far.saved_at);
    let by_hand = lasts_by_hand(&near, now) || lasts_by_hand(&far, now);
    let rank = |snapshot: &Snapshot| {
        (!by_hand && is_open(snapshot, now), snapshot.saved_at, is_open(snapshot, now))
    };
    rank(&far) > rank(&near)
}

fn lasts_by_hand(snapshot: &Snapshot, now: SystemTime) -> bool {
    snapshot.state.is_manual() && snapshot.manual_until.is_none_or(|until| until > now)
}

fn is_open(snapshot: &Snapshot, now: SystemTime) -> bool {
    snapshot.state == State::Open && snapshot.open_until.is_some_and(|until| until > now)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::winner;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn snapshot(state: &str, saved_at: u64, open_until: u64) -> Vec<u8> {
        let open_until = if open_until == 0 { "null".to_owned() } else { open_until.to_string() };
        let json = format!(
            r#"{{"version":1,"state":"{state}","open_until":{open_until},"saved_at":{saved_at}}}"#
        );
        json.into_bytes()
    }

    fn by_hand(state: &str, saved_at: u64, until: u64) -> Vec<u8> {
        let json = format!(
            r#"{{"version":1,"state":"{state}","manual_until":{until},"saved_at":{saved_at}}}"#
        );
        json.into_bytes()
    }

    #[track_caller]
    fn wins(winning: &[u8], losing: &[u8]) {
        for (near, far) in [(winning, losing), (losing, winning)] {
            let found = winner(Some(near.to_vec()), Some(far.to_vec()), at(100));
            assert_eq!(found.as_deref(), Some(winning));
        }
    }

    #[test]
    fn a_circuit_that_is_still_open_wins_and_else_the_newer() {
        wins(&snapshot("open", 50, 101), &snapshot("closed", 99, 0));
        wins(&snapshot("closed", 99, 0), &snapshot("open", 50, 100));
        wins(&snapshot("closed", 99, 0), &snapshot("forced_open", 50, 0));
        wins(&snapshot("open", 60, 101), &snapshot("open", 50, 200));
        wins(&snapshot("open", 60, 99), &snapshot("open", 50, 98));
    }

    #[test]
    fn a_clock_that_was_set_back_brings_back_nothing_that_is_over() {
        wins(&snapshot("closed", 1000, 0), &snapshot("open", 450, 500));
        wins(&snapshot("open", 1000, 1001), &by_hand("disabled", 450, 500));
        wins(&snapshot("open", 450, 1001), &snapshot("closed", 1000, 0));
    }

    #[test]
    fn of_an_open_circuit_and_a_state_by_hand_the_newer_wins() {
        for state in ["forced_open", "disabled", "metrics_only"] {
            wins(&snapshot(state, 99, 0), &snapshot("open", 50, 101));
            wins(&snapshot("open", 99, 101), &snapshot(state, 50, 0));
            wins(&snapshot("open", 50, 101), &snapshot(state, 50, 0));
            wins(&by_hand(state, 99, 101), &snapshot("open", 50, 101));
            // It has ended.
            wins(&snapshot("open", 50, 101), &by_hand(state, 99, 100));
        }
    }

    #[test]
    fn what_is_no_snapshot_counts_alone() {
        wins(&snapshot("closed", 1, 0), b"text");
        let winner = |near: Option<&[u8]>, far: Option<&[u8]>| {
            winner(near.map(<[u8]>::to_vec), far.map(<[u8]>::to_vec), at(100))
        };
        assert_eq!(winner(None, None), None);
        assert_eq!(winner(Some(b"near"), None).unwrap(), b"near");
        assert_eq!(winner(None, Some(b"far")).unwrap(), b"far");
        assert_eq!(winner(Some(b"near"), Some(b"far")).unwrap(), b"near");
    }
}
