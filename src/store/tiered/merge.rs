//! Which of two stored values counts.

use std::time::SystemTime;

use crate::{
    snapshot::{Snapshot, SnapshotError},
    state::State,
};

/// What two stores hold under a key, taken together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// The value to begin with.
    pub(super) value: Option<Vec<u8>>,
    /// The value of the near store, if it is damaged and another one counts.
    pub(super) damaged: Option<Vec<u8>>,
}

/// The value to begin with: of two snapshots, one of a circuit that is still open, or else the
/// newer. Of a circuit that is still open and a state set by hand that still lasts, the newer. A
/// value that is no snapshot counts only where there is no other, and a damaged snapshot for what
/// can be read of it. A snapshot of a newer release counts, the near store's first: it is not to be
/// overwritten.
pub(super) fn merge(near: Option<Vec<u8>>, far: Option<Vec<u8>>, now: SystemTime) -> Merged {
    let (near, far) = match (near, far) {
        (Some(near), Some(far)) => (near, far),
        (near, far) => return Merged { value: near.or(far), damaged: None },
    };
    match compare(&near, &far, now) {
        Winner::Near => Merged { value: Some(near), damaged: None },
        Winner::Far => Merged { value: Some(far), damaged: None },
        Winner::FarOfDamaged => Merged { value: Some(far), damaged: Some(near) },
    }
}

enum Winner {
    Near,
    Far,
    /// The far one, and the near one is damaged.
    FarOfDamaged,
}

fn compare(near: &[u8], far: &[u8], now: SystemTime) -> Winner {
    if near == far {
        return Winner::Near;
    }
    let near_read = Snapshot::from_json(near);
    let far = match Snapshot::from_json(far) {
        Ok(far) => far,
        Err(SnapshotError::NewerVersion(_))
            if !matches!(near_read, Err(SnapshotError::NewerVersion(_))) =>
        {
            return Winner::Far;
        }
        Err(_) => return Winner::Near,
    };
    match near_read {
        Ok(near) if is_before(&near, &far, now) => Winner::Far,
        Ok(_) | Err(SnapshotError::NewerVersion(_)) => Winner::Near,
        Err(SnapshotError::Corrupt(_)) => match Snapshot::from_damaged(near) {
            Some(near) if !is_before(&near, &far, now) => Winner::Near,
            _ => Winner::FarOfDamaged,
        },
    }
}

/// Whether the far snapshot counts before the near one.
fn is_before(near: &Snapshot, far: &Snapshot, now: SystemTime) -> bool {
    // A clock that was set back does not make an open circuit last that is long over.
    let now = now.max(near.saved_at).max(far.saved_at);
    let by_hand = lasts_by_hand(near, now) || lasts_by_hand(far, now);
    let rank = |snapshot: &Snapshot| {
        (!by_hand && is_open(snapshot, now), snapshot.saved_at, is_open(snapshot, now))
    };
    rank(far) > rank(near)
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

    use super::merge;

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
            let found = merge(Some(near.to_vec()), Some(far.to_vec()), at(100));
            assert_eq!(found.value.as_deref(), Some(winning));
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
            merge(near.map(<[u8]>::to_vec), far.map(<[u8]>::to_vec), at(100)).value
        };
        assert_eq!(winner(None, None), None);
        assert_eq!(winner(Some(b"near"), None).unwrap(), b"near");
        assert_eq!(winner(None, Some(b"far")).unwrap(), b"far");
        assert_eq!(winner(Some(b"near"), Some(b"far")).unwrap(), b"near");
    }

    /// An open circuit, cut short before the end.
    fn cut_short(saved_at: u64) -> Vec<u8> {
        let whole = format!(
            r#"{{"version":1,"state":"open","opened_at":10,"open_until":200,"saved_at":{saved_at},"#
        );
        whole.into_bytes()
    }

    #[test]
    fn a_damaged_snapshot_of_the_near_store_counts_for_what_can_be_read_of_it() {
        let merged = |near: &[u8], far: &[u8]| {
            let merged = merge(Some(near.to_vec()), Some(far.to_vec()), at(100));
            (merged.value.unwrap(), merged.damaged)
        };
        let (damaged, older) = (cut_short(50), snapshot("closed", 40, 0));
        assert_eq!(merged(&damaged, &older), (damaged.clone(), None));
        // It is kept if another one counts.
        for newer in [by_hand("disabled", 60, 200), snapshot("open", 60, 300)] {
            assert_eq!(merged(&damaged, &newer), (newer, Some(damaged.clone())));
        }
        assert_eq!(merged(b"{", &older), (older.clone(), Some(b"{".to_vec())));
        assert_eq!(merged(&snapshot("closed", 60, 0), &older).1, None);
    }

    #[test]
    fn a_snapshot_of_a_newer_release_in_the_near_store_is_not_passed_over() {
        let newer = br#"{"version":3,"readable_from":2,"state":"closed","saved_at":1}"#.to_vec();
        let far = snapshot("open", 60, 300);
        assert_eq!(merge(Some(newer.clone()), Some(far), at(100)).value, Some(newer));
    }

    #[test]
    fn nor_is_one_in_the_far_store() {
        let newer = br#"{"version":3,"readable_from":2,"state":"closed","saved_at":1}"#.to_vec();
        let near = snapshot("open", 60, 300);
        assert_eq!(merge(Some(near), Some(newer.clone()), at(100)).value, Some(newer));
    }
}
